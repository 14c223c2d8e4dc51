/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segment: one mapped file that outlives every process that uses it.
 *
 * Lives in: a file, 0600, in a directory that belongs to the same user (default /dev/shm).
 * Writers and readers: the creator until the ready word; then as layout.h says per field.
 * Progress: creation and attachment make system calls; everything after is plain memory.
 * Crash: a creator killed before the ready word leaves a file that attach refuses with
 * QB_ENOTREADY; qb_seg_create() never takes over an existing name.
 */
#ifndef QB_SHM_SEGMENT_H
#define QB_SHM_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "shm/atomic.h"
#include "shm/clock.h"
#include "shm/layout.h"
#include "shm/status.h"

/* Process-local handle. Sizes are copied from the header once, checked, and never read again. */
struct qb_seg {
	uint8_t *base;
	size_t bytes;
	int fd;
	int readonly;
	struct qb_header_shm *hdr;
	struct qb_config_shm cfg;               /* checked copy */
	struct qb_section_shm sec[QB_SEC_COUNT]; /* checked copy */
	struct qb_seat_shm *seats;
	struct qb_job_shm *jobs;
	qb_au64 *free_map, *dirty_map, *wait_map, *block_map;
	qb_au64 *effects;
	struct qb_key_bucket_shm *keys;
	uint32_t block_data_bytes;              /* block_bytes less the head */
};

/* A usable configuration: 8192 jobs, 64 seats, 1 KiB blocks. Change fields, then create. */
void qb_config_default(struct qb_config_shm *cfg);

/* Bytes of a segment of this configuration, or QB_EUSAGE / QB_ETOOBIG as a negative number. */
int64_t qb_seg_bytes(const struct qb_config_shm *cfg);

struct qb_seg_identity {
	const char *run_id;             /* at most 95 bytes */
	uint64_t cluster_id;
	uint64_t boot_id;
	uint64_t creator_start_ticks;
	const void *meta;               /* the run's description, copied; may be NULL */
	size_t meta_bytes;
};

/*
 * Create `path` (must not exist), allocate all of it, fill it, publish it.
 * Returns 0; -EEXIST; -ENOSPC when the file system cannot hold it (nothing is left behind);
 * QB_EUSAGE or QB_ETOOBIG for a bad configuration; other -errno.
 */
int qb_seg_create(const char *path, const struct qb_config_shm *cfg, const struct qb_seg_identity *id,
		  struct qb_seg *seg);

/* The same in memory of this process and its children, without a name: for tests and benchmarks. */
int qb_seg_create_anonymous(const struct qb_config_shm *cfg, struct qb_seg *seg);

/*
 * Attach to what somebody created. Its pages are in memory but not yet in this process's page table:
 * qb_seg_populate() what will be touched in a hurry.
 * 0; -ENOENT; QB_EOWNER (another user's, also for root, because who attaches acts on what it says; group- or
 * world-accessible, a link, not a regular file);
 * QB_ETOOSHORT; QB_EMAGIC; QB_EENDIAN; QB_EVERSION; QB_EFEATURE; QB_EFINGERPRINT; QB_ENOTREADY;
 * QB_EOTHERBOOT (boot_id != 0 and different); QB_ECORRUPT (a size or offset that cannot be).
 */
int qb_seg_attach(const char *path, uint64_t boot_id, struct qb_seg *seg);

/*
 * Read a dead or living segment without trusting it: the file is read with pread() into private
 * memory, so that a truncation meanwhile is an error and not a SIGBUS. Holes of the file take no
 * memory; QB_ETOOBIG when it is larger than all there is. Otherwise the same codes; the boot id is not
 * compared. A live segment gives a blurred picture; each job word is still whole.
 */
int qb_seg_snapshot(const char *path, struct qb_seg *seg);

/*
 * The same for bytes that the caller has read already: aligned to a page, neither copied nor changed, and
 * the caller's to keep until it is done with seg. Same codes. Nothing to detach.
 */
int qb_seg_view(void *data, size_t bytes, struct qb_seg *seg);

/* The description given at creation; *bytes is 0 when there is none or it is not plausible. */
const uint8_t *qb_seg_meta(const struct qb_seg *seg, uint32_t *bytes);

void qb_seg_detach(struct qb_seg *seg);         /* unmap and close; the file stays */

/* Fault in the pages of a range now (no page fault in the hot path later). Best effort. */
void qb_seg_populate(const struct qb_seg *seg, const void *from, size_t bytes);

/* Names, sizes and offsets of layout.h, hashed: equal only when two builds agree on all of them. */
uint64_t qb_layout_fingerprint(void);
/* Calls fn for each entry of that table, for the golden file. */
void qb_layout_each(void (*fn)(const char *name, uint64_t off, uint64_t bytes, void *ctx), void *ctx);

/* Writes the present {raw, mono, wall} triple; one writer at a time (the driver). Killed inside: the other triple counts. */
void qb_seg_clock_update(struct qb_seg *seg);
void qb_seg_clock_get(const struct qb_seg *seg, struct qb_clock_triple *first, struct qb_clock_triple *last);

const char *qb_job_state_name(uint32_t state);          /* "ready"; "?" out of range */
const char *qb_role_name(uint32_t role);                /* "worker" */
const char *qb_event_type_name(uint32_t type);          /* "job_started" */

/* ---- checked access; NULL when the index is out of range ---- */
static inline struct qb_job_shm *qb_seg_job(const struct qb_seg *seg, uint32_t slot_idx)
{
	return slot_idx < seg->cfg.job_count ? &seg->jobs[slot_idx] : NULL;
}
static inline struct qb_seat_shm *qb_seg_seat(const struct qb_seg *seg, uint32_t seat)
{
	return seat > 0 && seat < seg->cfg.seat_count ? &seg->seats[seat] : NULL;
}
static inline struct qb_block_shm *qb_seg_block(const struct qb_seg *seg, uint32_t block_idx)
{
	if (block_idx >= seg->cfg.block_count)
		return NULL;
	return (struct qb_block_shm *)(seg->base + seg->sec[QB_SEC_BLOCKS].off +
				       (uint64_t)block_idx * seg->cfg.block_bytes);
}
static inline uint8_t *qb_block_data(struct qb_block_shm *block)
{
	return (uint8_t *)(block + 1);
}
static inline struct qb_arena_shm *qb_seg_arena(const struct qb_seg *seg, uint32_t seat)
{
	if (seat == 0 || seat >= seg->cfg.seat_count)
		return NULL;
	return (struct qb_arena_shm *)(seg->base + seg->sec[QB_SEC_ARENAS].off +
				       seat * seg->sec[QB_SEC_ARENAS].stride);
}
static inline struct qb_event_ring_shm *qb_seg_event_ring(const struct qb_seg *seg, uint32_t seat)
{
	if (seat == 0 || seat >= seg->cfg.seat_count)
		return NULL;
	return (struct qb_event_ring_shm *)(seg->base + seg->sec[QB_SEC_EVENTS].off +
					    seat * seg->sec[QB_SEC_EVENTS].stride);
}
static inline struct qb_event_shm *qb_event_records(struct qb_event_ring_shm *ring)
{
	return (struct qb_event_shm *)(ring + 1);
}
static inline struct qb_ring_shm *qb_seg_ring(const struct qb_seg *seg, uint32_t ring_idx)
{
	return (struct qb_ring_shm *)(seg->base + seg->sec[QB_SEC_RINGS].off +
				      (ring_idx & 1) * seg->sec[QB_SEC_RINGS].stride);
}
static inline qb_au64 *qb_ring_slots(struct qb_ring_shm *ring)
{
	return (qb_au64 *)(ring + 1);
}

#endif
