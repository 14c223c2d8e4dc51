/* SPDX-License-Identifier: Apache-2.0 */
#include "record/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <msgpack.h>

#include "base/strbuf.h"
#include "record/format.h"
#include "record/pack.h"
#include "shm/crc.h"
#include "shm/status.h"

struct qb_record_writer {
	int fd;
	uint64_t off;                   /* where the next block begins */
	char *path;
	struct qb_strbuf body;          /* kept between calls for its memory */
};

int qb_record_create(const char *path, struct qb_record_writer **out, struct qb_err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		return qb_err_errno(err, errno, "could not create the record %s", path);
	struct qb_record_writer *w = qb_xcalloc(1, sizeof(*w));

	w->fd = fd;
	w->path = qb_xstrdup(path);
	*out = w;
	return 0;
}

/* The usual case is one call; a signal or a nearly full disk can make it write less. */
static int pwritev_full(int fd, struct iovec *iov, int iov_count, uint64_t off)
{
	while (iov_count > 0) {
		ssize_t n = pwritev(fd, iov, iov_count, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		off += (uint64_t)n;
		while (iov_count > 0 && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			iov_count--;
		}
		if (iov_count > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

/* One block: w->body, then tail (which may be NULL) as the rest of the msgpack. */
static int write_block(struct qb_record_writer *w, uint32_t type, const void *tail,
		       size_t tail_bytes, struct qb_err *err)
{
	uint8_t frame[QB_RECORD_FRAME_BYTES];
	size_t body_bytes = w->body.bytes + tail_bytes;
	struct iovec iov[3] = {
		{ .iov_base = frame, .iov_len = sizeof(frame) },
		{ .iov_base = w->body.data, .iov_len = w->body.bytes },
		{ .iov_base = (void *)(uintptr_t)tail, .iov_len = tail_bytes },
	};
	uint32_t crc;
	int rc;

	if (body_bytes > QB_RECORD_BODY_BYTES_MAX)
		return qb_err_set(err, QB_ETOOBIG, "could not write to %s: a block of %zu bytes is "
				  "larger than %u", w->path, body_bytes, QB_RECORD_BODY_BYTES_MAX);
	memcpy(frame, QB_RECORD_MAGIC, QB_RECORD_MAGIC_BYTES);
	qb_record_store32(frame + 4, type);
	qb_record_store32(frame + 8, (uint32_t)body_bytes);
	crc = qb_crc32c(0, frame + 4, 8);
	crc = qb_crc32c(crc, w->body.data, w->body.bytes);
	crc = qb_crc32c(crc, tail, tail_bytes);
	qb_record_store32(frame + 12, crc);

	rc = pwritev_full(w->fd, iov, tail_bytes ? 3 : 2, w->off);
	if (rc < 0) {
		/* Half a block is left out by a reader anyway; better that there is none. */
		if (ftruncate(w->fd, (off_t)w->off) < 0)
			return qb_err_errno(err, -rc, "could not write to %s, nor cut off the torn "
					    "block", w->path);
		return qb_err_errno(err, -rc, "could not write to %s", w->path);
	}
	w->off += sizeof(frame) + body_bytes;
	return 0;
}

int qb_record_meta(struct qb_record_writer *w, const struct qb_meta *meta, struct qb_err *err)
{
	qb_strbuf_clear(&w->body);
	qb_meta_pack(meta, &w->body);
	return write_block(w, QB_RECORD_META, NULL, 0, err);
}

static int write_events(struct qb_record_writer *w, uint32_t seat, uint64_t first_seq,
			const struct qb_event_shm *events, size_t count, struct qb_err *err)
{
	size_t bytes = count * sizeof(*events);
	msgpack_packer pk;

	for (size_t i = 0; i < count; i++) {
		uint64_t want = first_seq + i;
		uint64_t seq = qb_load_relaxed64(&events[i].seq); /* the caller synchronised */

		if (seq != want)
			return qb_err_set(err, QB_ECORRUPT, "could not record events of seat %u: "
					  "number %llu expected, %llu found", seat,
					  (unsigned long long)want, (unsigned long long)seq);
	}
	qb_strbuf_clear(&w->body);
	msgpack_packer_init(&pk, &w->body, qb_pack_to_strbuf);
	msgpack_pack_array(&pk, 4);
	msgpack_pack_uint32(&pk, seat);
	msgpack_pack_uint64(&pk, first_seq);
	msgpack_pack_uint32(&pk, (uint32_t)count);
	msgpack_pack_bin(&pk, bytes);
	return write_block(w, QB_RECORD_EVENTS, events, bytes, err);
}

int qb_record_events(struct qb_record_writer *w, uint32_t seat, uint64_t first_seq,
		     const struct qb_event_shm *events, size_t count, struct qb_err *err)
{
	if (seat == 0 || seat > QB_SEAT_MAX || first_seq == 0)
		return qb_err_set(err, QB_EUSAGE, "could not record events: seat %u, number %llu "
				  "cannot be", seat, (unsigned long long)first_seq);
	while (count > 0) {
		size_t n = count < QB_RECORD_BLOCK_EVENTS_MAX ? count : QB_RECORD_BLOCK_EVENTS_MAX;
		int rc = write_events(w, seat, first_seq, events, n, err);

		if (rc < 0)
			return rc;
		first_seq += n;
		events += n;
		count -= n;
	}
	return 0;
}

static void pack_triple(msgpack_packer *pk, const char *key, const struct qb_clock_triple *t)
{
	qb_pack_text(pk, key);
	msgpack_pack_array(pk, 3);
	msgpack_pack_uint64(pk, t->raw);
	msgpack_pack_uint64(pk, t->mono_ns);
	msgpack_pack_uint64(pk, t->wall_ns);
}

int qb_record_clock(struct qb_record_writer *w, const struct qb_clock_triple *first,
		    const struct qb_clock_triple *last, struct qb_err *err)
{
	msgpack_packer pk;

	qb_strbuf_clear(&w->body);
	msgpack_packer_init(&pk, &w->body, qb_pack_to_strbuf);
	msgpack_pack_map(&pk, 3);
	qb_pack_text(&pk, "mode");
	msgpack_pack_uint32(&pk, qb_clock_mode_now);
	pack_triple(&pk, "first", first);
	pack_triple(&pk, "last", last);
	return write_block(w, QB_RECORD_CLOCK, NULL, 0, err);
}

int qb_record_end(struct qb_record_writer *w, const struct qb_record_counter *counters,
		  size_t count, struct qb_err *err)
{
	msgpack_packer pk;

	qb_strbuf_clear(&w->body);
	msgpack_packer_init(&pk, &w->body, qb_pack_to_strbuf);
	msgpack_pack_map(&pk, count);
	for (size_t i = 0; i < count; i++) {
		qb_pack_text_max(&pk, counters[i].name, sizeof(counters[i].name) - 1);
		msgpack_pack_uint64(&pk, counters[i].value);
	}
	return write_block(w, QB_RECORD_END, NULL, 0, err);
}

int qb_record_block(struct qb_record_writer *w, uint32_t type, const void *body, size_t bytes,
		    struct qb_err *err)
{
	qb_strbuf_clear(&w->body);
	return write_block(w, type, body, bytes, err);
}

uint64_t qb_record_bytes(const struct qb_record_writer *w)
{
	return w->off;
}

int qb_record_close(struct qb_record_writer *w, struct qb_err *err)
{
	int rc = 0;

	if (!w)
		return 0;
	/* EINVAL: a target that cannot be synced, such as a pipe in a test; it has all bytes. */
	if (fsync(w->fd) < 0 && errno != EINVAL)
		rc = qb_err_errno(err, errno, "could not sync %s", w->path);
	if (close(w->fd) < 0 && rc == 0)
		rc = qb_err_errno(err, errno, "could not close %s", w->path);
	qb_strbuf_free(&w->body);
	free(w->path);
	free(w);
	return rc;
}
