/* SPDX-License-Identifier: Apache-2.0 */
#include "record/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "record/format.h"
#include "record/merge.h"
#include "record/reader.h"
#include "record/unpack.h"
#include "shm/segment.h"
#include "shm/status.h"

/* Events are copied out of a record into one of these; those of a segment stay in its snapshot. */
struct blob {
	uint8_t *data;
	size_t used, bytes;
};

struct loader {
	struct qb_trace *t;
	struct qb_runs runs;
	struct blob *blobs;
	size_t blobs_count;
	struct qb_seg *segs;
	size_t segs_count;
	int has_first;                  /* a first clock triple was seen */
	struct qb_err *err;
};

/* ---- what both kinds of file tell ---- */

static int check_run(struct loader *l, const char *path, const char *run_id)
{
	struct qb_trace *t = l->t;

	if (t->meta.run_id[0] == '\0' || strcmp(t->meta.run_id, run_id) == 0)
		return 0;
	return qb_err_set(l->err, QB_EUSAGE, "could not read %s together with the others: it is of "
			  "run \"%s\" and they are of \"%s\"", path, run_id, t->meta.run_id);
}

static void add_clock(struct loader *l, const struct qb_clock_triple *first,
		      const struct qb_clock_triple *last, uint32_t mode)
{
	struct qb_trace *t = l->t;

	if (!l->has_first) {
		l->has_first = 1;
		t->clock_first = *first;
		t->clock_last = *first;
		t->clock_mode = mode;
	}
	if (last->raw > t->clock_last.raw && last->mono_ns >= t->clock_first.mono_ns)
		t->clock_last = *last;
}

static int add_meta(struct loader *l, const char *path, const void *data, size_t bytes)
{
	struct qb_trace *t = l->t;
	struct qb_meta meta;
	int rc = qb_meta_unpack(&meta, data, bytes);

	if (rc < 0)
		return rc;
	rc = check_run(l, path, meta.run_id);
	if (rc < 0 || t->has_meta) {
		qb_meta_free(&meta);
		return rc;
	}
	qb_meta_free(&t->meta);
	t->meta = meta;
	t->has_meta = 1;
	return 0;
}

/* ---- records ---- */

static int read_clock(struct loader *l, const struct qb_record_block *b)
{
	struct qb_clock_triple triple[2] = { 0 };
	uint32_t pairs, mode = 0, members;
	unsigned seen = 0;
	struct qb_unpack u;

	qb_unpack_init(&u, b->body, b->bytes);
	if (qb_unpack_map(&u, &pairs) < 0)
		return QB_ECORRUPT;
	for (uint32_t i = 0; i < pairs; i++) {
		char key[16];
		int rc;

		if (qb_unpack_text(&u, key, sizeof(key)) < 0)
			return QB_ECORRUPT;
		int which = strcmp(key, "first") == 0 ? 0 : strcmp(key, "last") == 0 ? 1 : -1;

		if (which >= 0) {
			struct qb_clock_triple *to = &triple[which];

			rc = qb_unpack_array(&u, &members) < 0 || members != 3 ||
			     qb_unpack_u64(&u, &to->raw) < 0 ||
			     qb_unpack_u64(&u, &to->mono_ns) < 0 ||
			     qb_unpack_u64(&u, &to->wall_ns) < 0;
			seen |= 1u << which;
		} else if (strcmp(key, "mode") == 0) {
			rc = qb_unpack_u32(&u, &mode);
		} else {
			rc = qb_unpack_skip(&u);
		}
		if (rc != 0)
			return QB_ECORRUPT;
	}
	if (seen != 3)
		return QB_ECORRUPT;
	add_clock(l, &triple[0], &triple[1], mode);
	return 0;
}

static int read_end(struct loader *l, const struct qb_record_block *b)
{
	struct qb_trace *t = l->t;
	struct qb_unpack u;
	uint32_t pairs;

	qb_unpack_init(&u, b->body, b->bytes);
	if (qb_unpack_map(&u, &pairs) < 0)
		return QB_ECORRUPT;
	t->ended = 1;
	t->counters_count = 0;
	for (uint32_t i = 0; i < pairs; i++) {
		struct qb_record_counter c = { 0 };
		struct qb_unpack value;
		const char *name;
		uint32_t bytes;

		if (qb_unpack_str(&u, &name, &bytes) < 0)
			return QB_ECORRUPT;
		value = u;
		if (qb_unpack_skip(&u) < 0)
			return QB_ECORRUPT;
		/* Counters that are no numbers are from the future. */
		if (bytes >= sizeof(c.name) || qb_unpack_u64(&value, &c.value) < 0 ||
		    t->counters_count == QB_TRACE_COUNTERS_MAX)
			continue;
		memcpy(c.name, name, bytes);
		t->counters[t->counters_count++] = c;
	}
	return 0;
}

/* Events from..to of a block are good: they become a run. */
static void add_run(struct loader *l, uint32_t seat, uint64_t first_seq,
		    struct qb_event_shm *events, uint32_t from, uint32_t to)
{
	qb_runs_add(&l->runs, seat, first_seq + from, events + from, to - from);
}

static int event_possible(const struct qb_event_shm *ev, uint32_t seat, uint64_t seq)
{
	return qb_load_relaxed64(&ev->seq) == seq && ev->seat == seat && ev->type != QB_EV_NONE;
}

static int read_events(struct loader *l, struct blob *blob, const struct qb_record_block *b)
{
	uint32_t members, seat, count, bytes;
	const uint8_t *data;
	uint64_t first_seq;
	struct qb_unpack u;

	qb_unpack_init(&u, b->body, b->bytes);
	if (qb_unpack_array(&u, &members) < 0 || members < 4 || qb_unpack_u32(&u, &seat) < 0 ||
	    qb_unpack_u64(&u, &first_seq) < 0 || qb_unpack_u32(&u, &count) < 0 ||
	    qb_unpack_bin(&u, &data, &bytes) < 0)
		return QB_ECORRUPT;
	if (seat == 0 || seat > QB_SEAT_MAX || first_seq == 0 || count > UINT64_MAX - first_seq ||
	    bytes != (uint64_t)count * sizeof(struct qb_event_shm) ||
	    bytes > blob->bytes - blob->used)
		return QB_ECORRUPT;
	struct qb_event_shm *events = (struct qb_event_shm *)(blob->data + blob->used);
	uint32_t from = 0;

	memcpy(events, data, bytes);
	blob->used += bytes;
	for (uint32_t i = 0; i < count; i++) {
		if (event_possible(&events[i], seat, first_seq + i))
			continue;
		l->t->damage.bad_count++;
		add_run(l, seat, first_seq, events, from, i);
		from = i + 1;
	}
	add_run(l, seat, first_seq, events, from, count);
	return 0;
}

static int read_blocks(struct loader *l, const char *path, struct qb_record_reader *r,
		       struct blob *blob)
{
	struct qb_record_block b;
	int rc;

	while ((rc = qb_record_next(r, &b, l->err)) == 1) {
		int ok = 0;

		if (b.type == QB_RECORD_META) {
			ok = add_meta(l, path, b.body, b.bytes);
			if (ok == QB_EUSAGE)
				return ok;
			if (ok == QB_EVERSION || ok == QB_EENDIAN)
				return qb_err_set(l->err, ok, "could not read %s: %s", path,
						  qb_strerror(ok));
		} else if (b.type == QB_RECORD_EVENTS) {
			ok = read_events(l, blob, &b);
		} else if (b.type == QB_RECORD_CLOCK) {
			ok = read_clock(l, &b);
		} else if (b.type == QB_RECORD_END) {
			ok = read_end(l, &b);
		}
		l->t->damage.bad_count += ok < 0;
	}
	return rc;
}

static int load_record(struct loader *l, const char *path)
{
	struct qb_trace_damage *to = &l->t->damage;
	struct blob *blob = &l->blobs[l->blobs_count];
	struct qb_record_reader *r;
	int rc = qb_record_open(path, &r, l->err);

	if (rc < 0)
		return rc;
	/* Never more events than bytes in the file; what is not touched costs nothing. */
	blob->bytes = (size_t)qb_record_file_bytes(r);
	blob->data = qb_big_alloc(blob->bytes);
	if (!blob->data) {
		rc = qb_err_errno(l->err, ENOMEM, "could not read %s", path);
		goto out;
	}
	l->blobs_count++;
	l->t->has_record = 1;
	rc = read_blocks(l, path, r, blob);
	const struct qb_record_damage *d = qb_record_damage(r);

	to->skipped_count += d->skipped_count;
	to->skipped_bytes += d->skipped_bytes;
	to->tail_bytes += d->tail_bytes;
out:
	qb_record_reader_close(r);
	return rc;
}

/* ---- segments ---- */

/*
 * Behind the newest record of a ring. The tail is where its writer stood, or one too low when it
 * was killed between the record and the tail. If no record stands before it, the tail is not to be
 * trusted, and the highest number that is in its right slot decides.
 */
static uint64_t ring_end(const struct qb_event_ring_shm *ring, const struct qb_event_shm *records,
			 uint64_t count)
{
	uint64_t end = qb_load_relaxed64(&ring->tail), highest = 0;

	for (uint64_t i = 0; i < count; i++) {
		if (qb_load_relaxed64(&records[end & (count - 1)].seq) != end + 1)
			break;
		end++;
	}
	if (end > 0 && qb_load_relaxed64(&records[(end - 1) & (count - 1)].seq) == end)
		return end;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t seq = qb_load_relaxed64(&records[i].seq);

		if (seq > highest && seq < UINT64_MAX && ((seq - 1) & (count - 1)) == i)
			highest = seq;
	}
	return highest;
}

/* A ring keeps its last event_count records, read or not; those with their number are whole. */
static void read_ring(struct loader *l, const struct qb_seg *seg, uint32_t seat)
{
	struct qb_event_ring_shm *ring = qb_seg_event_ring(seg, seat);
	struct qb_event_shm *records = qb_event_records(ring);
	uint64_t count = seg->cfg.event_count, end = ring_end(ring, records, count), run_seq = 0;
	struct qb_event_shm *run = NULL;
	uint32_t run_count = 0;

	l->t->dropped_count += qb_load_relaxed64(&ring->dropped);
	for (uint64_t i = 0; i < count; i++)
		l->t->damage.unread_count += qb_load_relaxed64(&records[i].seq) == 0 &&
					     records[i].type != QB_EV_NONE;
	for (uint64_t pos = end > count ? end - count : 0; pos < end; pos++) {
		struct qb_event_shm *ev = &records[pos & (count - 1)];
		uint64_t seq = qb_load_relaxed64(&ev->seq);
		int good = event_possible(ev, seat, pos + 1);

		l->t->damage.bad_count += !good && seq == pos + 1;
		if (good && run && ev == run + run_count) {
			run_count++;
			continue;
		}
		qb_runs_add(&l->runs, seat, run_seq, run, run_count);
		run = good ? ev : NULL;
		run_seq = pos + 1;
		run_count = (uint32_t)good;
	}
	qb_runs_add(&l->runs, seat, run_seq, run, run_count);
}

/* What the configuration tells when nobody described the run. */
static void meta_from_config(struct qb_trace *t, const struct qb_seg *seg)
{
	struct qb_meta *m = &t->meta;

	if (t->has_meta)
		return;
	memcpy(m->run_id, seg->hdr->run_id, sizeof(m->run_id));
	memcpy(m->lib, seg->cfg.queue, sizeof(seg->cfg.queue));
	m->workers = seg->cfg.worker_count;
	m->slots = seg->cfg.slots_per_worker;
	m->seed = seg->cfg.seed;
	m->started_wall_ns = seg->hdr->created_wall_ns;
}

static void read_segment_clock(struct loader *l, const struct qb_seg *seg)
{
	struct qb_clock_triple first, last;

	qb_seg_clock_get(seg, &first, &last);
	/* Killed before the second triple: while the machine is up, its clocks still run. */
	if (last.raw <= first.raw && seg->hdr->boot_id != 0 && seg->hdr->boot_id == qb_boot_id()) {
		uint32_t mode = qb_clock_mode_now;

		qb_clock_mode_now = seg->hdr->clock_mode;
		qb_clock_read_triple(&last);
		qb_clock_mode_now = mode;
	}
	add_clock(l, &first, &last, seg->hdr->clock_mode);
}

static int load_segment(struct loader *l, const char *path)
{
	struct qb_trace *t = l->t;
	struct qb_seg *seg = &l->segs[l->segs_count];
	const uint8_t *meta;
	uint32_t meta_bytes;
	int rc = qb_seg_snapshot(path, seg);

	if (rc < 0)
		return qb_err_set(l->err, rc, "could not read the segment %s: %s", path,
				  qb_strerror(rc));
	l->segs_count++;
	t->has_segment = 1;
	rc = check_run(l, path, seg->hdr->run_id);
	if (rc < 0)
		return rc;
	meta = qb_seg_meta(seg, &meta_bytes);
	if (meta_bytes > 0) {
		rc = add_meta(l, path, meta, meta_bytes);
		if (rc == QB_EUSAGE)
			return rc;
		t->damage.bad_count += rc < 0;
	}
	meta_from_config(t, seg);
	read_segment_clock(l, seg);
	t->ended |= qb_load_relaxed32(&seg->hdr->state) == QB_SEG_CLOSED;
	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++) {
		uint32_t role = qb_seat_role(qb_load_relaxed64(&seg->seats[seat].word));

		if (role < QB_ROLE_COUNT)
			t->seat_role[seat] = (uint8_t)role;
		read_ring(l, seg, seat);
	}
	return 0;
}

/* ---- both ---- */

/* A segment begins with its magic, or with zeros when its creator died early. 1, 0, or -errno */
static int is_segment(const char *path, struct qb_err *err)
{
	uint64_t magic = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return qb_err_errno(err, errno, "could not open %s", path);
	ssize_t n = qb_pread_full(fd, &magic, sizeof(magic), 0);

	close(fd);
	if (n == -ESPIPE)
		return 0;       /* the reader of records says what is wrong with it */
	if (n < 0)
		return qb_err_errno(err, (int)-n, "could not read %s", path);
	return n == sizeof(magic) && (magic == QB_SEG_MAGIC || magic == 0 ||
				      magic == __builtin_bswap64(QB_SEG_MAGIC));
}

/* With no triple at all, distances are ticks, and the first event happened when the run began. */
static void guess_clock(struct loader *l)
{
	struct qb_trace *t = l->t;
	uint64_t first = UINT64_MAX;

	t->clock_rough = !l->has_first || (t->clock_mode != QB_CLOCK_MONOTONIC &&
					   t->clock_last.raw <= t->clock_first.raw);
	if (l->has_first)
		return;
	for (size_t i = 0; i < l->runs.count; i++) {
		if (l->runs.all[i].events->raw < first)
			first = l->runs.all[i].events->raw;
	}
	t->clock_first = (struct qb_clock_triple){ first, first, t->meta.started_wall_ns };
	t->clock_last = t->clock_first;
}

int qb_trace_load_files(const char *const *paths, size_t count, struct qb_trace *t,
			struct qb_err *err)
{
	struct loader l = { .t = t, .err = err };
	uint64_t dropped;
	int rc = 0;

	memset(t, 0, sizeof(*t));
	l.blobs = qb_xcalloc(count, sizeof(*l.blobs));
	l.segs = qb_xcalloc(count, sizeof(*l.segs));
	for (size_t i = 0; i < count && rc >= 0; i++) {
		rc = is_segment(paths[i], err);
		if (rc >= 0)
			rc = rc ? load_segment(&l, paths[i]) : load_record(&l, paths[i]);
	}
	if (rc >= 0) {
		guess_clock(&l);
		/* The segment's own count, where there is one, is the newer. */
		if (!t->has_segment && qb_trace_counter(t, "dropped", &dropped) == 0)
			t->dropped_count = dropped;
		rc = qb_runs_merge(&l.runs, t);
		if (rc < 0)
			qb_err_errno(err, -rc, "could not put the events of %s in order", paths[0]);
	}
	for (size_t i = 0; i < l.segs_count; i++)
		qb_seg_detach(&l.segs[i]);
	for (size_t i = 0; i < l.blobs_count; i++)
		qb_big_free(l.blobs[i].data, l.blobs[i].bytes);
	free(l.runs.all);
	free(l.segs);
	free(l.blobs);
	if (rc < 0)
		qb_trace_free(t);
	return rc < 0 ? rc : 0;
}

int qb_trace_load(const char *path, struct qb_trace *t, struct qb_err *err)
{
	return qb_trace_load_files(&path, 1, t, err);
}

void qb_trace_free(struct qb_trace *t)
{
	qb_meta_free(&t->meta);
	qb_big_free(t->events, t->events_bytes);
	t->events = NULL;
	t->events_count = 0;
}

int qb_trace_counter(const struct qb_trace *t, const char *name, uint64_t *value)
{
	for (uint32_t i = 0; i < t->counters_count; i++) {
		if (strcmp(t->counters[i].name, name) == 0) {
			*value = t->counters[i].value;
			return 0;
		}
	}
	return -ENOENT;
}
