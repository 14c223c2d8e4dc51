/* SPDX-License-Identifier: Apache-2.0 */
#include "record/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/strbuf.h"
#include "record/format.h"
#include "shm/crc.h"
#include "shm/status.h"

#define WINDOW_BYTES (1u << 20)
#define MAGIC_SEARCH_BYTES (1u << 20)

struct qb_record_reader {
	int fd;
	char *path;
	uint64_t file_bytes;            /* when it was opened */
	uint64_t off;                   /* of the next block */

	uint8_t *window;                /* a piece of the file */
	size_t window_cap, window_bytes;
	uint64_t window_off;

	/*
	 * Bytes that may still be summed for nothing.  A file full of false beginnings, each with a
	 * long body, would otherwise take time by the square of its length.
	 */
	uint64_t search_budget;
	struct qb_record_damage damage;
};

static int has_magic(const uint8_t *p, ssize_t bytes)
{
	return bytes >= (ssize_t)QB_RECORD_MAGIC_BYTES &&
	       memcmp(p, QB_RECORD_MAGIC, QB_RECORD_MAGIC_BYTES) == 0;
}

/*
 * The bytes at off, at least want of them unless the file ends before; *got says how many. NULL
 * and *got = -errno when the file cannot be read.
 */
static const uint8_t *view(struct qb_record_reader *r, uint64_t off, size_t want, ssize_t *got)
{
	uint64_t end = r->window_off + r->window_bytes;

	if (off < r->window_off || off + want > end) {
		if (want > r->window_cap) {
			r->window_cap = want;
			r->window = qb_xrealloc(r->window, want);
		}
		uint64_t left = off < r->file_bytes ? r->file_bytes - off : 0;
		size_t n = left < r->window_cap ? (size_t)left : r->window_cap;

		*got = qb_pread_full(r->fd, r->window, n, (off_t)off);
		r->window_bytes = *got < 0 ? 0 : (size_t)*got;
		r->window_off = off;
		if (*got < 0)
			return NULL;
	}
	*got = (ssize_t)(r->window_off + r->window_bytes - off);
	return r->window + (off - r->window_off);
}

static int read_failed(const struct qb_record_reader *r, ssize_t rc, uint64_t off,
		       struct qb_err *err)
{
	return qb_err_errno(err, (int)-rc, "could not read %s at byte %llu", r->path,
			    (unsigned long long)off);
}

/* Is there a whole block at off? 1 and *b, 0, or -errno. *summed: bytes of body looked at. */
static int block_at(struct qb_record_reader *r, uint64_t off, struct qb_record_block *b,
		    uint64_t *summed, struct qb_err *err)
{
	ssize_t got;
	const uint8_t *p = view(r, off, QB_RECORD_FRAME_BYTES, &got);

	*summed = 0;
	if (!p)
		return read_failed(r, got, off, err);
	if (got < (ssize_t)QB_RECORD_FRAME_BYTES || !has_magic(p, got))
		return 0;
	uint32_t bytes = qb_record_load32(p + 8);

	/* The length is compared with what the file holds before any memory is taken for it. */
	if (bytes > QB_RECORD_BODY_BYTES_MAX || bytes > r->file_bytes - off - QB_RECORD_FRAME_BYTES)
		return 0;
	p = view(r, off, QB_RECORD_FRAME_BYTES + bytes, &got);
	if (!p)
		return read_failed(r, got, off, err);
	if (got < (ssize_t)(QB_RECORD_FRAME_BYTES + bytes))
		return 0;
	*summed = bytes;
	uint32_t crc = qb_crc32c(0, p + 4, 8);

	crc = qb_crc32c(crc, p + QB_RECORD_FRAME_BYTES, bytes);
	if (crc != qb_record_load32(p + 12))
		return 0;
	b->type = qb_record_load32(p + 4);
	b->body = p + QB_RECORD_FRAME_BYTES;
	b->bytes = bytes;
	b->off = off;
	return 1;
}

/* Where there is data at or behind off: what lies in a hole of the file begins no block, and may be a terabyte. */
static uint64_t skip_hole(const struct qb_record_reader *r, uint64_t off)
{
	off_t data = lseek(r->fd, (off_t)off, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? r->file_bytes : off;
	return (uint64_t)data > off ? (uint64_t)data : off;
}

/* The next place in [off, until) where the magic stands; file_bytes when there is none. */
static int find_magic(struct qb_record_reader *r, uint64_t off, uint64_t until, uint64_t *found,
		      struct qb_err *err)
{
	while (off < until && off + QB_RECORD_FRAME_BYTES <= r->file_bytes) {
		ssize_t got;

		off = skip_hole(r, off);
		if (off >= until || off + QB_RECORD_FRAME_BYTES > r->file_bytes)
			break;
		const uint8_t *p = view(r, off, QB_RECORD_FRAME_BYTES, &got);

		if (!p)
			return read_failed(r, got, off, err);
		if (got < (ssize_t)QB_RECORD_FRAME_BYTES)
			break;
		const uint8_t *hit = memmem(p, (size_t)got, QB_RECORD_MAGIC, QB_RECORD_MAGIC_BYTES);

		if (hit) {
			*found = off + (uint64_t)(hit - p);
			return 0;
		}
		/* It may lie across the end of the window. */
		off += (uint64_t)got - (QB_RECORD_MAGIC_BYTES - 1);
	}
	*found = r->file_bytes;
	return 0;
}

/* The first whole block behind off. 1 and *b, 0 when there is none, or -errno. */
static int resync(struct qb_record_reader *r, uint64_t off, struct qb_record_block *b,
		  struct qb_err *err)
{
	while (off < r->file_bytes) {
		uint64_t at, summed;
		int rc = find_magic(r, off, r->file_bytes, &at, err);

		if (rc < 0 || at >= r->file_bytes)
			return rc;
		rc = block_at(r, at, b, &summed, err);
		if (rc != 0)
			return rc;
		if (summed > r->search_budget)
			return 0;
		r->search_budget -= summed;
		off = at + 1;
	}
	return 0;
}

int qb_record_next(struct qb_record_reader *r, struct qb_record_block *b, struct qb_err *err)
{
	uint64_t start = r->off, summed;
	int rc;

	if (start >= r->file_bytes)
		return 0;
	rc = block_at(r, start, b, &summed, err);
	if (rc == 0) {
		rc = resync(r, start + 1, b, err);
		if (rc == 1) {
			if (r->damage.skipped_count++ == 0)
				r->damage.skipped_off = start;
			r->damage.skipped_bytes += b->off - start;
		}
	}
	if (rc < 0)
		return rc;
	if (rc == 0) {
		r->damage.tail_bytes = r->file_bytes - start;
		r->damage.tail_off = start;
		r->off = r->file_bytes;
		return 0;
	}
	r->off = b->off + QB_RECORD_FRAME_BYTES + b->bytes;
	return 1;
}

static int check_file(struct qb_record_reader *r, struct qb_err *err)
{
	struct stat st;
	uint64_t at = 0;
	ssize_t got;
	int rc;

	if (fstat(r->fd, &st) < 0)
		return qb_err_errno(err, errno, "could not examine %s", r->path);
	if (!S_ISREG(st.st_mode))
		return qb_err_set(err, QB_EMAGIC, "could not read %s: it is not a regular file",
				  r->path);
	r->file_bytes = (uint64_t)st.st_size;
	r->search_budget = 4 * r->file_bytes + (64u << 20);

	if (r->file_bytes == 0)
		return qb_err_set(err, QB_EMAGIC, "could not read %s: it is empty", r->path);

	const uint8_t *p = view(r, 0, QB_RECORD_FRAME_BYTES, &got);

	if (!p)
		return read_failed(r, got, 0, err);
	if (has_magic(p, got))
		return 0;
	/* A damaged first block does not make it something else; a MiB without any does. */
	rc = find_magic(r, 0, MAGIC_SEARCH_BYTES, &at, err);
	if (rc < 0)
		return rc;
	if (at >= r->file_bytes)
		return qb_err_set(err, QB_EMAGIC, "could not read %s: it is neither a qbench "
				  "record nor a segment", r->path);
	return 0;
}

int qb_record_open(const char *path, struct qb_record_reader **out, struct qb_err *err)
{
	/* O_NONBLOCK: a FIFO without a writer is refused and not waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int rc;

	if (fd < 0)
		return qb_err_errno(err, errno, "could not open %s", path);
	struct qb_record_reader *r = qb_xcalloc(1, sizeof(*r));

	r->fd = fd;
	r->path = qb_xstrdup(path);
	r->window_cap = WINDOW_BYTES;
	r->window = qb_xmalloc(r->window_cap);
	rc = check_file(r, err);
	if (rc < 0) {
		qb_record_reader_close(r);
		return rc;
	}
	*out = r;
	return 0;
}

const struct qb_record_damage *qb_record_damage(const struct qb_record_reader *r)
{
	return &r->damage;
}

uint64_t qb_record_file_bytes(const struct qb_record_reader *r)
{
	return r->file_bytes;
}

void qb_record_reader_close(struct qb_record_reader *r)
{
	if (!r)
		return;
	close(r->fd);
	free(r->window);
	free(r->path);
	free(r);
}
