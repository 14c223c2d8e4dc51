/* SPDX-License-Identifier: Apache-2.0 */
/* `qbench recover --from-postgres`: a new segment for a run whose own is lost with its host. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "pg/conn.h"
#include "run/driver.h"
#include "run/process.h"
#include "run/server.h"
#include "shm/fault.h"
#include "sync/restore.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
#define SETTING "segment"
#define SETTING_FORMAT "standbys=%u jitter=%u backoff=%u ledger=%u replicas=%u poll_us=%llu effects=%u"
/* It has another name until all jobs are in it. */
#define UNFINISHED "segment.loading"

void qb_rebuild_note(struct qb_meta *m, const struct qb_config_shm *cfg)
{
	char text[96];

	snprintf(text, sizeof(text), SETTING_FORMAT, cfg->standby_count, cfg->jitter_permille, cfg->backoff, cfg->ledger,
		 cfg->replicas, (unsigned long long)(cfg->poll_ns / QB_NS_PER_US), cfg->effect_count);
	/* It has room: the other settings are a few dozen words of the command line and of the host. */
	if (qb_meta_setting(m, SETTING, text) < 0)
		qb_log(QB_LOG_WARNING, "the description of the run is full: it cannot be rebuilt from Postgres");
}

static const char *setting(const struct qb_meta *m, const char *key)
{
	for (uint32_t i = 0; i < m->settings_count; i++)
		if (strcmp(m->settings[i].key, key) == 0)
			return m->settings[i].value;
	return "";
}

/* Workers, modes and policies as they were; sizes for what there is to load, and nothing beyond: nobody enqueues. */
static int make_config(const struct qb_restore *r, const struct qb_meta *m, struct qb_config_shm *c, struct qb_err *err)
{
	unsigned long long poll_us;

	qb_config_default(c);
	if (sscanf(setting(m, SETTING), SETTING_FORMAT, &c->standby_count, &c->jitter_permille, &c->backoff, &c->ledger,
		   &c->replicas, &poll_us, &c->effect_count) != 7)
		return qb_err_set(err, QB_EVERSION, "the description of the run does not say how its segment was configured: "
				  "it was made by qbench %s", m->qbench_version);
	c->poll_ns = poll_us * QB_NS_PER_US;
	c->worker_count = m->workers;
	c->slots_per_worker = m->slots;
	c->ack_mode = strcmp(m->ack, "shm") == 0 ? QB_ACK_SHM : QB_ACK_DURABLE;
	c->seed = m->seed;
	c->seat_count = m->workers + c->standby_count + 12;
	c->spin_ns = m->workers + 3 <= qb_proc_cores() ? 5000 : 0;
	c->readers = 1u << QB_READER_RECORD | 1u << QB_READER_SYNC;
	/* Each life has as many claims; attempts count on over all of them. */
	c->max_claims += r->life * QB_LIFE_ATTEMPTS;
	for (c->job_count = 64; c->job_count < r->jobs && c->job_count < QB_JOB_MAX;)
		c->job_count *= 2;
	c->ring_count = 2 * c->job_count;
	c->block_count = r->payload_blocks + 64 < QB_BLOCK_MAX ? (uint32_t)r->payload_blocks + 64 : QB_BLOCK_MAX;
	c->meta_bytes = (uint32_t)QB_ROUND_UP(r->meta_bytes + sizeof(uint32_t), 64);
	/* Slots and blocks are checked while loading; the rest may be anything, since it comes from a table. */
	if (m->workers < 1 || m->slots < 1 || c->standby_count > 1000 || m->workers > 3000 || qb_seg_bytes(c) < 0)
		return qb_err_set(err, QB_ECORRUPT, "the description of the run asks for a segment that cannot be");
	return 0;
}

static int life_dir(const struct qb_run_config *cfg, const char *run_id, uint32_t life, char *out, size_t cap)
{
	int len = life == 0 ? snprintf(out, cap, "%s/qbench-%s", cfg->segment_dir, run_id) :
		snprintf(out, cap, "%s/qbench-%s.life%u", cfg->segment_dir, run_id, life);

	return len < (int)cap ? 0 : QB_EUSAGE;
}

/* The segment of the present life knows more than Postgres does. */
static int refuse_survivor(const struct qb_run_config *cfg, const struct qb_restore *r, struct qb_err *err)
{
	char dir[400], path[420];
	struct qb_seg seg;

	if (life_dir(cfg, r->run_id, r->life, dir, sizeof(dir)) < 0)
		return qb_err_set(err, QB_EUSAGE, "--segment-dir is too long");
	snprintf(path, sizeof(path), "%s/segment", dir);
	if (qb_seg_attach(path, qb_boot_id(), &seg) < 0)
		return 0;
	int same = strcmp(seg.hdr->run_id, r->run_id) == 0;

	qb_seg_detach(&seg);
	if (!same)
		return 0;
	return qb_err_set(err, QB_EUSAGE, "the segment of this run survives, and knows more than Postgres does: "
			  "'qbench recover %s'", path);
}

/* What rebuilds that were killed have left. No other is at work: we hold the run's lock. */
static void sweep(const struct qb_run_config *cfg, const struct qb_restore *r)
{
	char dir[400], path[420];

	for (uint32_t life = 1; life < r->life; life++) {
		if (life_dir(cfg, r->run_id, life, dir, sizeof(dir)) < 0)
			return;
		snprintf(path, sizeof(path), "%s/" UNFINISHED, dir);
		if (unlink(path) == 0)
			rmdir(dir);
	}
}

static int make_segment(struct qb_driver *d, const struct qb_restore *r, const struct qb_meta *m, const char *path,
			struct qb_err *err)
{
	struct qb_config_shm cfg;
	int rc = make_config(r, m, &cfg, err);
	struct qb_seg_identity id = {
		.run_id = r->run_id,
		.cluster_id = qb_server_cluster_id(d->server),
		.boot_id = qb_boot_id(),
		.creator_start_ticks = qb_proc_start_ticks(getpid()),
		.meta = r->meta,
		.meta_bytes = r->meta_bytes,
	};

	if (rc < 0)
		return rc;
	rc = qb_seg_create(path, &cfg, &id, &d->seg);
	if (rc == -ENOSPC)
		return qb_err_set(err, rc, "there is no room for the segment of %.1f MiB in %s: free some, or name another "
				  "directory with --segment-dir", (double)qb_seg_bytes(&cfg) / 1048576, d->cfg->segment_dir);
	return rc < 0 ? qb_err_set(err, rc, "could not create the segment %s: %s", path, qb_strerror(rc)) : 0;
}

/* Make, load, publish: the name is given last, so that what has it is whole. */
static int build(struct qb_driver *d, struct qb_restore *r, const struct qb_meta *m, struct qb_err *err)
{
	char path[sizeof(d->segment_path)];
	int rc = 0;

	if (life_dir(d->cfg, r->run_id, r->life, d->segment_dir, 400) < 0)
		return qb_err_set(err, QB_EUSAGE, "--segment-dir is too long");
	snprintf(d->segment_path, sizeof(d->segment_path), "%s/segment", d->segment_dir);
	snprintf(path, sizeof(path), "%s/" UNFINISHED, d->segment_dir);
	if (mkdir(d->segment_dir, 0700) < 0)
		return qb_err_errno(err, errno, "could not create %s: name another directory with --segment-dir", d->segment_dir);
	rc = make_segment(d, r, m, path, err);
	if (rc == 0)
		rc = qb_restore_load(r, &d->seg, &qb_interrupted, err);
	if (rc == 0) {
		qb_restore_publish(r, &d->seg);
		QB_FAULT("rebuild.build.before-name");
		if (rename(path, d->segment_path) < 0)
			rc = qb_err_errno(err, errno, "could not give the segment its name");
		QB_FAULT("rebuild.build.after-name");
	}
	if (rc < 0) {
		unlink(path);
		rmdir(d->segment_dir);
	}
	return rc;
}

int qb_rebuild_segment(struct qb_driver *d, const char *run_id, struct qb_recover_result *result, struct qb_err *err)
{
	struct qb_config_shm usual;
	struct qb_meta meta = { 0 };
	struct qb_restore r;

	qb_process_arm_faults(QB_ROLE_TOOL);
	int rc = qb_restore_open(&r, qb_server_conninfo(d->server), run_id, err);

	if (rc == 0) {
		rc = qb_meta_unpack(&meta, r.meta, r.meta_bytes);
		if (rc < 0)
			qb_err_set(err, rc, "the description of the run in Postgres cannot be read: %s", qb_strerror(rc));
	}
	if (rc == 0)
		rc = refuse_survivor(d->cfg, &r, err);
	qb_config_default(&usual);
	if (rc == 0)
		rc = qb_restore_take(&r, usual.block_bytes - (uint32_t)sizeof(struct qb_block_shm), err);
	if (rc == 0) {
		sweep(d->cfg, &r);
		rc = build(d, &r, &meta, err);
	}
	if (rc == 0) {
		result->finished_before = r.finished;
		memcpy(result->restored, r.how, sizeof(r.how));
	}
	qb_meta_free(&meta);
	qb_restore_close(&r);
	return rc;
}

int qb_unfinished_runs(const struct qb_run_config *cfg, struct qb_strbuf *out, struct qb_err *err)
{
	PGconn *conn;
	int rc = qb_pg_connect(cfg->postgres_url, "qbench restore", CONNECT_NS, &conn, err);

	if (rc < 0)
		return rc;
	rc = qb_restore_list(conn, out, err);
	PQfinish(conn);
	return rc;
}
