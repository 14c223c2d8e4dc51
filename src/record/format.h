/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a run, events.qbr, as bytes.  doc/record-format.md says the same in words.
 *
 * A record is a sequence of blocks: a frame of 16 bytes, then the body in msgpack.  Each block has
 * its own check sum and is written with one call, so a record may end anywhere, also by a kill of
 * its writer or a full disk: what stands before the last whole block is good.
 */
#ifndef QB_RECORD_FORMAT_H
#define QB_RECORD_FORMAT_H

#include <stdint.h>

#define QB_RECORD_VERSION 1u
#define QB_RECORD_MAGIC "QBRB"
#define QB_RECORD_MAGIC_BYTES 4u
#define QB_RECORD_FRAME_BYTES 16u
#define QB_RECORD_BODY_BYTES_MAX (16u << 20)
#define QB_RECORD_BLOCK_EVENTS_MAX 16384u       /* that the writer puts in one block */

/* A reader skips types that it does not know. */
enum qb_record_type {
	QB_RECORD_NONE = 0,
	QB_RECORD_META = 1,     /* map: the run's description, see meta.h; the first block */
	QB_RECORD_EVENTS = 2,   /* array [seat, first_seq, count, bin of count * 64 bytes] */
	QB_RECORD_CLOCK = 3,    /* map: mode, first and last triple */
	QB_RECORD_END = 4,      /* map name -> unsigned: final counters, at an orderly end */
	QB_RECORD_ENDS = 5,     /* array [counts, first, bin of 24 bytes a job], see ends.h */
};

/* Frame: magic[4]; little-endian u32: type, body bytes, CRC-32C of (type, bytes, body). */
static inline uint32_t qb_record_load32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void qb_record_store32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

/* arg1 of a JOB_STARTED event: how its worker came to look for a job. */
enum qb_found {
	QB_FOUND_UNTOLD = 0,            /* the queue does not say */
	QB_FOUND_BUSY = 1,              /* it had just looked or worked, and had not waited */
	QB_FOUND_WOKEN = 2,             /* its wait was ended by a notification or a hint */
	QB_FOUND_BY_TIME = 3,           /* its wait was over by time: a poll, or a job of its own was due */
	QB_FOUND_COUNT,
};

/*
 * CACHE_REQUEST: job_id is the request; slot_idx its address; tenant the caller; token the run whose failure was returned
 * (0: none); arg0 the ns from the call to the answer, which came at the stamp; arg1 as here. doc/record-format.md.
 */
struct qb_cache_answer {
	uint8_t way, fault;             /* enum qb_cache_way, enum qb_cache_fault */
	uint8_t from_memory;
	uint16_t ticks, pushes;         /* at most 65535 is told */
};

static inline uint64_t qb_cache_answer_pack(const struct qb_cache_answer *a)
{
	return (uint64_t)a->way | (uint64_t)a->fault << 8 | (uint64_t)a->from_memory << 16 | (uint64_t)a->ticks << 32 |
	       (uint64_t)a->pushes << 48;
}

static inline struct qb_cache_answer qb_cache_answer_unpack(uint64_t v)
{
	return (struct qb_cache_answer){
		.way = (uint8_t)v, .fault = (uint8_t)(v >> 8), .from_memory = (uint8_t)(v >> 16), .ticks = (uint16_t)(v >> 32),
		.pushes = (uint16_t)(v >> 48),
	};
}

/* arg0 of a VERDICT event: what the plan did that is no kill of a process of ours. job_id is its number. */
enum qb_fault_act {
	QB_FAULT_STOPPED = 1,           /* slot_idx = seat, arg1 = pid */
	QB_FAULT_WENT_ON = 2,           /* the same */
	QB_FAULT_SERVER_KILLED = 3,     /* arg1 = pid of the postmaster */
	QB_FAULT_SERVER_BACK = 4,       /* arg1 = ns from the kill until it served again */
};

#endif
