/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define TOTAL_BYTES_MAX (1ull << 40)

void qb_config_default(struct qb_config_shm *cfg)
{
	memset(cfg, 0, sizeof(*cfg));
	cfg->job_count = 8192;
	cfg->seat_count = 64;
	cfg->ring_count = 2 * cfg->job_count;
	cfg->block_count = 16384;
	cfg->block_bytes = 1024;
	cfg->arena_bytes = 64 * 1024;
	cfg->event_count = 4096;
	cfg->readers = 1u << QB_READER_RECORD | 1u << QB_READER_SYNC;
	cfg->event_overflow = QB_OVERFLOW_WAIT;
	cfg->ack_mode = QB_ACK_DURABLE;
	cfg->worker_count = 10;
	cfg->standby_count = 1;
	cfg->slots_per_worker = 1;
	cfg->backoff = QB_BACKOFF_IMMEDIATE;
	cfg->max_claims = 100;
	cfg->meta_bytes = 16384;
	cfg->poll_ns = 1000000000;
	memcpy(cfg->queue, "shm", 4);
}

static int config_valid(const struct qb_config_shm *c)
{
	return qb_is_pow2(c->job_count) && c->job_count >= 64 && c->job_count <= QB_JOB_MAX &&
	       c->seat_count >= 4 && c->seat_count <= QB_SEAT_MAX + 1 &&
	       qb_is_pow2(c->ring_count) && c->ring_count >= 2 * c->job_count &&
	       c->ring_count <= 4 * QB_JOB_MAX &&
	       c->block_count >= 64 && c->block_count <= QB_BLOCK_MAX &&
	       c->block_bytes >= 128 && c->block_bytes % 64 == 0 && c->block_bytes <= 128 * 1024 &&
	       qb_is_pow2(c->arena_bytes) && c->arena_bytes >= 4096 && c->arena_bytes <= 64u << 20 &&
	       qb_is_pow2(c->event_count) && c->event_count >= 64 && c->event_count <= 1u << 24 &&
	       c->effect_count <= 1u << 28 && c->meta_bytes >= 64 && c->meta_bytes % 64 == 0 &&
	       c->meta_bytes <= 1u << 20 && c->max_claims >= 1 && c->max_claims <= 0xffff &&
	       c->readers < 1u << QB_READER_COUNT && c->event_overflow <= QB_OVERFLOW_DROP &&
	       c->ack_mode <= QB_ACK_SHM && c->backoff <= QB_BACKOFF_POW4 &&
	       memchr(c->queue, 0, sizeof(c->queue)) != NULL;
}

/* Where each section lies; the one place that knows. Returns the bytes of the whole file. */
static uint64_t place_sections(const struct qb_config_shm *c, struct qb_section_shm sec[QB_SEC_COUNT])
{
	uint64_t jobs = c->job_count, off = sizeof(struct qb_header_shm);
	const struct { uint64_t stride, count; } want[QB_SEC_COUNT] = {
		[QB_SEC_SEATS] = { sizeof(struct qb_seat_shm), c->seat_count },
		[QB_SEC_JOBS] = { sizeof(struct qb_job_shm), jobs },
		[QB_SEC_FREE_MAP] = { sizeof(qb_au64), (jobs + 63) / 64 },
		[QB_SEC_DIRTY_MAP] = { sizeof(qb_au64), (jobs + 63) / 64 },
		[QB_SEC_WAIT_MAP] = { sizeof(qb_au64), (jobs + 63) / 64 },
		[QB_SEC_RINGS] = { QB_ROUND_UP(sizeof(struct qb_ring_shm) +
					       (uint64_t)c->ring_count * sizeof(qb_au64), QB_PAGE_BYTES),
				   QB_RING_COUNT },
		[QB_SEC_BLOCK_MAP] = { sizeof(qb_au64), ((uint64_t)c->block_count + 63) / 64 },
		[QB_SEC_BLOCKS] = { c->block_bytes, c->block_count },
		[QB_SEC_ARENAS] = { QB_ROUND_UP(sizeof(struct qb_arena_shm) + (uint64_t)c->arena_bytes,
						QB_CACHELINE), c->seat_count },
		[QB_SEC_EVENTS] = { QB_ROUND_UP(sizeof(struct qb_event_ring_shm) + (uint64_t)c->event_count *
						sizeof(struct qb_event_shm), QB_CACHELINE), c->seat_count },
		[QB_SEC_EFFECTS] = { sizeof(qb_au64), c->effect_count },
		[QB_SEC_META] = { 1, c->meta_bytes },
		[QB_SEC_KEYS] = { sizeof(struct qb_key_bucket_shm), jobs / 2 },
	};

	for (unsigned k = 0; k < QB_SEC_COUNT; k++) {
		sec[k].off = off;
		sec[k].stride = want[k].stride;
		sec[k].count = want[k].count;
		sec[k].bytes = want[k].stride * want[k].count;
		off = QB_ROUND_UP(off + sec[k].bytes, QB_PAGE_BYTES);
	}
	return off;
}

int64_t qb_seg_bytes(const struct qb_config_shm *cfg)
{
	struct qb_section_shm sec[QB_SEC_COUNT];

	if (!config_valid(cfg))
		return QB_EUSAGE;
	uint64_t total = place_sections(cfg, sec);

	return total > TOTAL_BYTES_MAX ? QB_ETOOBIG : (int64_t)total;
}

/* A handle that holds nothing, so that detaching it after a refusal does no harm. */
static void forget(struct qb_seg *seg)
{
	memset(seg, 0, sizeof(*seg));
	seg->fd = -1;
}

static void bind_sections(struct qb_seg *seg)
{
	seg->hdr = (struct qb_header_shm *)seg->base;
	seg->seats = (struct qb_seat_shm *)(seg->base + seg->sec[QB_SEC_SEATS].off);
	seg->jobs = (struct qb_job_shm *)(seg->base + seg->sec[QB_SEC_JOBS].off);
	seg->free_map = (qb_au64 *)(seg->base + seg->sec[QB_SEC_FREE_MAP].off);
	seg->dirty_map = (qb_au64 *)(seg->base + seg->sec[QB_SEC_DIRTY_MAP].off);
	seg->wait_map = (qb_au64 *)(seg->base + seg->sec[QB_SEC_WAIT_MAP].off);
	seg->block_map = (qb_au64 *)(seg->base + seg->sec[QB_SEC_BLOCK_MAP].off);
	seg->effects = (qb_au64 *)(seg->base + seg->sec[QB_SEC_EFFECTS].off);
	seg->keys = (struct qb_key_bucket_shm *)(seg->base + seg->sec[QB_SEC_KEYS].off);
	seg->block_data_bytes = seg->cfg.block_bytes - (uint32_t)sizeof(struct qb_block_shm);
	/* Payloads and results are the user's, and have no place in a core file. */
	madvise(seg->base + seg->sec[QB_SEC_BLOCKS].off, seg->sec[QB_SEC_BLOCKS].bytes, MADV_DONTDUMP);
	madvise(seg->base + seg->sec[QB_SEC_ARENAS].off, seg->sec[QB_SEC_ARENAS].bytes, MADV_DONTDUMP);
}

/* Bits of a hint map that stand for nothing stay clear, so that a scan need not compare indexes. */
static void set_all_bits(qb_au64 *map, uint64_t count)
{
	for (uint64_t i = 0; i * 64 < count; i++) {
		uint64_t left = count - i * 64;

		map[i].v = left >= 64 ? UINT64_MAX : (1ull << left) - 1;
	}
}

static void fill(struct qb_seg *seg, const struct qb_seg_identity *id)
{
	struct qb_header_shm *h = seg->hdr;
	struct qb_clock_triple t;

	h->magic = QB_SEG_MAGIC;
	h->endian = QB_SEG_ENDIAN;
	h->major = QB_LAYOUT_MAJOR;
	h->minor = QB_LAYOUT_MINOR;
	h->header_bytes = sizeof(*h);
	h->clock_mode = qb_clock_mode_now = qb_clock_best_mode();
	h->layout_fp = qb_layout_fingerprint();
	h->total_bytes = seg->bytes;
	h->creator_pid = (uint32_t)getpid();
	h->creator_uid = (uint32_t)geteuid();
	h->created_wall_ns = qb_realtime_ns();
	if (id) {
		h->boot_id = id->boot_id;
		h->creator_start_ticks = id->creator_start_ticks;
		h->cluster_id = id->cluster_id;
		if (id->run_id)
			strncpy(h->run_id, id->run_id, sizeof(h->run_id) - 1);
	}
	h->config = seg->cfg;
	memcpy(h->section, seg->sec, sizeof(seg->sec));
	qb_clock_read_triple(&t);
	for (int i = 0; i < 3; i++) {
		struct qb_triple_shm *to = i == 0 ? &h->clock_first : &h->clock_last[i - 1];

		to->raw.v = t.raw;
		to->mono_ns.v = t.mono_ns;
		to->wall_ns.v = t.wall_ns;
	}
	h->next_due_ns.v = UINT64_MAX;
	set_all_bits(seg->free_map, seg->cfg.job_count);
	set_all_bits(seg->block_map, seg->cfg.block_count);
	h->state.v = QB_SEG_LIVE;
}

/*
 * [segment.W1] Publishes: everything in the file, to a process that sees the ready word.
 * Pairs with: [segment.R1].
 * Killed before this: attach answers QB_ENOTREADY.
 */
static void publish(struct qb_seg *seg)
{
	qb_store_release64(&seg->hdr->ready, QB_READY_WORD);
}

static void fill_meta(struct qb_seg *seg, const struct qb_seg_identity *id)
{
	uint8_t *to = seg->base + seg->sec[QB_SEC_META].off;
	uint32_t bytes = id ? (uint32_t)id->meta_bytes : 0;

	memcpy(to, &bytes, sizeof(bytes));
	if (bytes)
		memcpy(to + sizeof(bytes), id->meta, bytes);
}

const uint8_t *qb_seg_meta(const struct qb_seg *seg, uint32_t *bytes)
{
	const uint8_t *from = seg->base + seg->sec[QB_SEC_META].off;

	memcpy(bytes, from, sizeof(*bytes));
	if (*bytes > seg->cfg.meta_bytes - sizeof(*bytes))
		*bytes = 0;
	return from + sizeof(*bytes);
}

int qb_seg_create(const char *path, const struct qb_config_shm *cfg, const struct qb_seg_identity *id,
		  struct qb_seg *seg)
{
	int64_t bytes = qb_seg_bytes(cfg);
	int rc;

	forget(seg);
	if (bytes < 0)
		return (int)bytes;
	if (id && id->run_id && strlen(id->run_id) >= sizeof(seg->hdr->run_id))
		return QB_ETOOBIG;
	if (id && id->meta_bytes + sizeof(uint32_t) > cfg->meta_bytes)
		return QB_ETOOBIG;
	seg->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (seg->fd < 0)
		return -errno;
	/* Really allocated: a full tmpfs is an error here and not a SIGBUS later. A signal undoes it on tmpfs. */
	for (int tries = 0; tries < 100; tries++) {
		rc = -posix_fallocate(seg->fd, 0, bytes);
		if (rc != -EINTR)
			break;
	}
	if (rc < 0)
		goto err_unlink;
	seg->bytes = (size_t)bytes;
	seg->base = mmap(NULL, seg->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, seg->fd, 0);
	if (seg->base == MAP_FAILED) {
		rc = -errno;
		goto err_unlink;
	}
	madvise(seg->base, seg->bytes, MADV_POPULATE_WRITE);
	seg->cfg = *cfg;
	place_sections(cfg, seg->sec);
	bind_sections(seg);
	fill(seg, id);
	fill_meta(seg, id);
	publish(seg);
	return 0;

err_unlink:
	unlink(path);
	close(seg->fd);
	forget(seg);
	return rc;
}

int qb_seg_create_anonymous(const struct qb_config_shm *cfg, struct qb_seg *seg)
{
	int64_t bytes = qb_seg_bytes(cfg);

	forget(seg);
	if (bytes < 0)
		return (int)bytes;
	seg->bytes = (size_t)bytes;
	seg->base = mmap(NULL, seg->bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (seg->base == MAP_FAILED) {
		int rc = -errno;

		forget(seg);
		return rc;
	}
	seg->cfg = *cfg;
	place_sections(cfg, seg->sec);
	bind_sections(seg);
	fill(seg, NULL);
	fill_meta(seg, NULL);
	publish(seg);
	return 0;
}

/*
 * Whoever attaches acts on what the segment says, down to ending the processes that it names: only its owner,
 * and root is no exception.  Who only reads a copy may be root.
 */
static int open_checked(const char *path, int flags, int *fd_out, uint64_t *bytes)
{
	int may_be_root = (flags & O_ACCMODE) == O_RDONLY && geteuid() == 0;
	struct stat st;
	int fd = open(path, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errno == ELOOP || errno == EISDIR ? QB_EOWNER : -errno;
	if (fstat(fd, &st) < 0) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || (st.st_mode & 077) ||
	    (st.st_uid != geteuid() && !may_be_root)) {
		close(fd);
		return QB_EOWNER;
	}
	*fd_out = fd;
	*bytes = (uint64_t)st.st_size;
	return 0;
}

/* Is this header, copied out of a file of that size, one that the code can walk without looking back? */
static int header_check(const struct qb_header_shm *h, uint64_t file_bytes, struct qb_seg *seg)
{
	struct qb_section_shm sec[QB_SEC_COUNT];

	/*
	 * [segment.R1] Sees: the whole header, when the ready word is there.
	 * Pairs with: [segment.W1].
	 */
	uint64_t ready = qb_load_acquire64(&h->ready), total_bytes = h->total_bytes;

	/* Killed between any two of its stores, so the fields in between say nothing. */
	if (ready == 0 && (h->magic == 0 || h->magic == QB_SEG_MAGIC))
		return QB_ENOTREADY;
	if (h->magic != QB_SEG_MAGIC)
		return h->magic == __builtin_bswap64(QB_SEG_MAGIC) ? QB_EENDIAN : QB_EMAGIC;
	if (h->endian != QB_SEG_ENDIAN)
		return QB_EENDIAN;
	if (h->major != QB_LAYOUT_MAJOR)
		return QB_EVERSION;
	if (ready != QB_READY_WORD)
		return QB_ENOTREADY;
	if (h->incompat_flags != 0)
		return QB_EFEATURE;
	if (h->layout_fp != qb_layout_fingerprint())
		return QB_EFINGERPRINT;
	if (total_bytes > file_bytes)
		return QB_ETOOSHORT;
	seg->cfg = h->config;
	if (!config_valid(&seg->cfg) || h->header_bytes != sizeof(*h) ||
	    (h->clock_mode != QB_CLOCK_TSC && h->clock_mode != QB_CLOCK_MONOTONIC) ||
	    !memchr(h->run_id, 0, sizeof(h->run_id)))
		return QB_ECORRUPT;
	uint64_t total = place_sections(&seg->cfg, sec);

	if (total > TOTAL_BYTES_MAX || total != total_bytes ||
	    memcmp(sec, h->section, sizeof(sec)) != 0)
		return QB_ECORRUPT;
	memcpy(seg->sec, sec, sizeof(sec));
	seg->bytes = (size_t)total;
	return 0;
}

int qb_seg_attach(const char *path, uint64_t boot_id, struct qb_seg *seg)
{
	uint64_t file_bytes;
	int rc;

	forget(seg);
	rc = open_checked(path, O_RDWR, &seg->fd, &file_bytes);
	if (rc < 0)
		return rc;
	if (file_bytes < sizeof(struct qb_header_shm)) {
		rc = QB_ETOOSHORT;
		goto err_close;
	}
	struct qb_header_shm *h = mmap(NULL, sizeof(*h), PROT_READ, MAP_SHARED, seg->fd, 0);

	if (h == MAP_FAILED) {
		rc = -errno;
		goto err_close;
	}
	rc = header_check(h, file_bytes, seg);
	if (rc == 0 && boot_id != 0 && h->boot_id != boot_id)
		rc = QB_EOTHERBOOT;
	qb_clock_mode_now = rc == 0 ? h->clock_mode : qb_clock_mode_now;
	munmap(h, sizeof(*h));
	if (rc < 0)
		goto err_close;
	seg->base = mmap(NULL, seg->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, seg->fd, 0);
	if (seg->base == MAP_FAILED) {
		rc = -errno;
		goto err_close;
	}
	bind_sections(seg);
	return 0;

err_close:
	close(seg->fd);
	forget(seg);
	return rc;
}

static int read_range(int fd, uint8_t *to, size_t from, size_t end)
{
	while (from < end) {
		ssize_t n = pread(fd, to + from, end - from, (off_t)from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : QB_ETOOSHORT;
		from += (size_t)n;
	}
	return 0;
}

/*
 * The bytes of the file into fresh memory, all but its holes: a file of a terabyte that holds one page
 * must not take a terabyte here.
 */
static int read_data(int fd, uint8_t *to, size_t bytes)
{
	struct stat st;
	int rc = 0;

	for (size_t from = 0; rc == 0 && from < bytes;) {
		off_t data = lseek(fd, (off_t)from, SEEK_DATA), hole;

		/* Nothing but a hole, unless it was cut meanwhile. */
		if (data < 0 && errno == ENXIO)
			return fstat(fd, &st) < 0 ? -errno : (uint64_t)st.st_size < bytes ? QB_ETOOSHORT : 0;
		/* A file system that knows no holes. */
		if (data < 0)
			return read_range(fd, to, from, bytes);
		hole = lseek(fd, data, SEEK_HOLE);
		size_t end = hole > data && (uint64_t)hole < bytes ? (size_t)hole : bytes;

		if ((uint64_t)data >= bytes)
			return 0;
		rc = read_range(fd, to, (size_t)data, end);
		from = end;
	}
	return rc;
}

/* A segment lies in memory: one that is larger than all of it is no segment of this machine. */
static int fits_memory(uint64_t bytes)
{
	long pages = sysconf(_SC_PHYS_PAGES);

	return pages <= 0 || bytes / QB_PAGE_BYTES <= (uint64_t)pages;
}

int qb_seg_snapshot(const char *path, struct qb_seg *seg)
{
	uint64_t file_bytes;
	int fd, rc;

	forget(seg);
	rc = open_checked(path, O_RDONLY, &fd, &file_bytes);
	if (rc < 0)
		return rc;
	struct qb_header_shm *h = aligned_alloc(QB_PAGE_BYTES, sizeof(*h));

	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	ssize_t n;

	do
		n = pread(fd, h, sizeof(*h), 0);
	while (n < 0 && errno == EINTR);
	if (n < (ssize_t)sizeof(*h)) {
		rc = n < 0 ? -errno : QB_ETOOSHORT;
		goto out;
	}
	rc = header_check(h, file_bytes, seg);
	if (rc == 0 && !fits_memory(seg->bytes))
		rc = QB_ETOOBIG;
	if (rc < 0)
		goto out;
	/* Address space, not memory: only what is read takes some. */
	seg->base = mmap(NULL, seg->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (seg->base == MAP_FAILED) {
		rc = -errno;
		goto out;
	}
	rc = read_data(fd, seg->base, seg->bytes);
	if (rc < 0) {
		munmap(seg->base, seg->bytes);
		goto out;
	}
	/* What was checked is what is used, whatever happened to the file between the two reads. */
	memcpy(seg->base, h, sizeof(*h));
	seg->readonly = 1;
	bind_sections(seg);
out:
	if (rc < 0)
		forget(seg);
	free(h);
	close(fd);
	return rc;
}

int qb_seg_view(void *data, size_t bytes, struct qb_seg *seg)
{
	int rc;

	forget(seg);
	if (bytes < sizeof(struct qb_header_shm))
		return QB_ETOOSHORT;
	rc = header_check(data, bytes, seg);
	if (rc < 0) {
		forget(seg);
		return rc;
	}
	seg->base = data;
	seg->readonly = 1;
	bind_sections(seg);
	return 0;
}

void qb_seg_detach(struct qb_seg *seg)
{
	if (seg->base)
		munmap(seg->base, seg->bytes);
	if (seg->fd >= 0)
		close(seg->fd);
	forget(seg);
}

void qb_seg_populate(const struct qb_seg *seg, const void *from, size_t bytes)
{
	uintptr_t lo = (uintptr_t)from & ~(uintptr_t)(QB_PAGE_BYTES - 1);
	uintptr_t hi = QB_ROUND_UP((uintptr_t)from + bytes, (uintptr_t)QB_PAGE_BYTES);
	uintptr_t end = (uintptr_t)seg->base + seg->bytes;
	volatile uint8_t sink = 0;

	if (hi > end)
		hi = QB_ROUND_UP(end, (uintptr_t)QB_PAGE_BYTES);
	if (lo >= hi)
		return;
	madvise((void *)lo, hi - lo, MADV_POPULATE_WRITE);
	/* One touch more: on a virtual machine the first access after the populate costs another 2.7 us a page. */
	for (uintptr_t p = lo; p < hi; p += QB_PAGE_BYTES)
		sink = (uint8_t)(sink + *(const volatile uint8_t *)p);
	(void)sink;
}

/*
 * [segment.W2] Publishes: one whole triple, to a decoder; clock_last_idx is stored after it.
 * Pairs with: [segment.R2].
 * Killed before this: the index still names the older triple, which is whole.
 */
void qb_seg_clock_update(struct qb_seg *seg)
{
	struct qb_header_shm *h = seg->hdr;
	uint32_t next = qb_load_relaxed32(&h->clock_last_idx) + 1;
	struct qb_triple_shm *to = &h->clock_last[next & 1];
	struct qb_clock_triple t;

	qb_clock_read_triple(&t);
	/* Release: no part of this triple may be seen before the index that named the other one. */
	qb_store_release64(&to->raw, t.raw);
	qb_store_release64(&to->mono_ns, t.mono_ns);
	qb_store_release64(&to->wall_ns, t.wall_ns);
	qb_store_release32(&h->clock_last_idx, next);
}

static void triple_get(const struct qb_triple_shm *from, struct qb_clock_triple *to)
{
	/* Acquire: [segment.R2] looks at the index once more, and not before these. */
	to->raw = qb_load_acquire64(&from->raw);
	to->mono_ns = qb_load_acquire64(&from->mono_ns);
	to->wall_ns = qb_load_acquire64(&from->wall_ns);
}

void qb_seg_clock_get(const struct qb_seg *seg, struct qb_clock_triple *first, struct qb_clock_triple *last)
{
	const struct qb_header_shm *h = seg->hdr;

	triple_get(&h->clock_first, first);
	for (int i = 0; i < 8; i++) {
		/*
		 * [segment.R2] Sees: the triple that the index names.
		 * Pairs with: [segment.W2]; read twice, because two updates may pass in between.
		 */
		uint32_t idx = qb_load_acquire32(&h->clock_last_idx);

		triple_get(&h->clock_last[idx & 1], last);
		if (qb_load_acquire32(&h->clock_last_idx) == idx)
			return;
	}
}
