/* SPDX-License-Identifier: Apache-2.0 */
#include "record/ends.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "base/strbuf.h"
#include "record/format.h"
#include "record/pack.h"
#include "record/reader.h"
#include "record/unpack.h"
#include "shm/align.h"
#include "shm/status.h"

#define JOBS_PER_BLOCK 65536u

QB_ASSERT_SIZE(qb_job_end, 24);

static const struct field {
	const char *key;
	size_t off;
} fields[] = {
	{ "jobs_count", offsetof(struct qb_ends, jobs_count) },
	{ "effects_count", offsetof(struct qb_ends, effects_count) },
	{ "watch_end_ns", offsetof(struct qb_ends, watch_end_ns) },
	{ "reports_ambiguity", offsetof(struct qb_ends, reports_ambiguity) },
	{ "parks", offsetof(struct qb_ends, parks) },
	{ "resolves", offsetof(struct qb_ends, resolves) },
#define LOAD(name) { "db_" #name, offsetof(struct qb_ends, load.name) }
	LOAD(commits), LOAD(rollbacks), LOAD(inserted), LOAD(updated), LOAD(deleted), LOAD(dead_left), LOAD(vacuums),
	LOAD(wal_bytes), LOAD(statements), LOAD(strangers), LOAD(delayed),
#undef LOAD
	{ "leased", offsetof(struct qb_ends, leased) },
	{ "may_lose", offsetof(struct qb_ends, may_lose) },
	{ "forgets", offsetof(struct qb_ends, forgets) },
};
#define FIELD_COUNT QB_ARRAY_COUNT(fields)

/* Every block has the counts in front, so that each can be read without the others. */
static void pack_block(struct qb_strbuf *body, const struct qb_ends *ends, uint64_t first,
		       size_t count)
{
	size_t bytes = count * sizeof(*ends->jobs);
	msgpack_packer pk;

	qb_strbuf_clear(body);
	msgpack_packer_init(&pk, body, qb_pack_to_strbuf);
	msgpack_pack_array(&pk, 3);
	msgpack_pack_map(&pk, FIELD_COUNT);
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		uint64_t value;

		memcpy(&value, (const char *)ends + fields[i].off, sizeof(value));
		qb_pack_text(&pk, fields[i].key);
		msgpack_pack_uint64(&pk, value);
	}
	msgpack_pack_uint64(&pk, first);
	msgpack_pack_bin(&pk, bytes);
	msgpack_pack_bin_body(&pk, ends->jobs + first, bytes);
}

int qb_record_ends(struct qb_record_writer *w, const struct qb_ends *ends, struct qb_err *err)
{
	struct qb_strbuf body = { 0 };
	uint64_t first = 0;
	int rc;

	if (ends->jobs_count > QB_ENDS_JOBS_MAX)
		return qb_err_set(err, QB_ETOOBIG, "could not record the ends of %llu jobs: the "
				  "most is %u", (unsigned long long)ends->jobs_count,
				  QB_ENDS_JOBS_MAX);
	do {
		uint64_t left = ends->jobs_count - first;
		size_t n = left < JOBS_PER_BLOCK ? (size_t)left : JOBS_PER_BLOCK;

		pack_block(&body, ends, first, n);
		rc = qb_record_block(w, QB_RECORD_ENDS, body.data, body.bytes, err);
		first += n;
	} while (rc == 0 && first < ends->jobs_count);
	qb_strbuf_free(&body);
	return rc;
}

static int unpack_counts(struct qb_unpack *u, struct qb_ends *ends)
{
	uint32_t pairs;

	if (qb_unpack_map(u, &pairs) < 0)
		return QB_ECORRUPT;
	for (uint32_t i = 0; i < pairs; i++) {
		uint64_t value;
		char key[32];
		size_t f = 0;

		if (qb_unpack_text(u, key, sizeof(key)) < 0)
			return QB_ECORRUPT;
		while (f < FIELD_COUNT && strcmp(fields[f].key, key) != 0)
			f++;
		if (f == FIELD_COUNT) {
			if (qb_unpack_skip(u) < 0)
				return QB_ECORRUPT;
			continue;
		}
		if (qb_unpack_u64(u, &value) < 0)
			return QB_ECORRUPT;
		memcpy((char *)ends + fields[f].off, &value, sizeof(value));
	}
	return 0;
}

/*
 * One block into ends; *seen counts the jobs that are filled in. The list is made with the first
 * block, and only as long as the file can fill it.
 */
static int read_block(struct qb_ends *ends, uint64_t *seen, uint64_t file_bytes,
		      const struct qb_record_block *b)
{
	struct qb_ends counts = { .load = qb_db_load_unknown() };
	const uint8_t *data;
	uint32_t members, bytes;
	uint64_t first;
	struct qb_unpack u;

	qb_unpack_init(&u, b->body, b->bytes);
	if (qb_unpack_array(&u, &members) < 0 || members < 3 || unpack_counts(&u, &counts) < 0 ||
	    qb_unpack_u64(&u, &first) < 0 || qb_unpack_bin(&u, &data, &bytes) < 0)
		return QB_ECORRUPT;
	uint64_t n = bytes / sizeof(*ends->jobs);

	if (counts.jobs_count > QB_ENDS_JOBS_MAX || bytes % sizeof(*ends->jobs) != 0 ||
	    first > counts.jobs_count || n > counts.jobs_count - first)
		return QB_ECORRUPT;
	if (counts.jobs_count * sizeof(*ends->jobs) > file_bytes)
		return -ENOENT;
	if (!ends->jobs) {
		*ends = counts;
		ends->jobs = qb_xcalloc(counts.jobs_count + 1, sizeof(*ends->jobs));
	} else if (counts.jobs_count != ends->jobs_count) {
		return QB_ECORRUPT;
	}
	for (uint64_t i = 0; i < n; i++) {
		struct qb_job_end *to = &ends->jobs[first + i], end;

		memcpy(&end, data + i * sizeof(end), sizeof(end));
		if (end.job_id != first + i + 1 || end.outcome >= QB_OUTCOME_COUNT)
			return QB_ECORRUPT;
		*seen += to->job_id == 0;
		*to = end;
	}
	return 0;
}

static int read_blocks(const char *path, struct qb_record_reader *r, struct qb_ends *ends,
		       struct qb_err *err)
{
	uint64_t seen = 0, blocks = 0;
	struct qb_record_block b;
	int rc;

	while ((rc = qb_record_next(r, &b, err)) == 1) {
		if (b.type != QB_RECORD_ENDS)
			continue;
		blocks++;
		rc = read_block(ends, &seen, qb_record_file_bytes(r), &b);
		if (rc == QB_ECORRUPT)
			return qb_err_set(err, rc, "could not read what became of the jobs in %s: "
					  "a block holds impossible values", path);
		if (rc < 0)
			break;
	}
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (blocks == 0)
		return qb_err_set(err, -ENOENT, "%s does not tell what became of the jobs: the run "
				  "was cut off before its end", path);
	if (rc == -ENOENT || seen < ends->jobs_count)
		return qb_err_set(err, -ENOENT, "%s tells only of %llu jobs what became of them",
				  path, (unsigned long long)seen);
	return 0;
}

int qb_ends_load(const char *path, struct qb_ends *ends, struct qb_err *err)
{
	struct qb_record_reader *r;
	int rc;

	memset(ends, 0, sizeof(*ends));
	rc = qb_record_open(path, &r, err);
	if (rc < 0)
		return rc;
	rc = read_blocks(path, r, ends, err);
	qb_record_reader_close(r);
	if (rc < 0)
		qb_ends_free(ends);
	return rc;
}

void qb_ends_free(struct qb_ends *ends)
{
	free(ends->jobs);
	memset(ends, 0, sizeof(*ends));
}
