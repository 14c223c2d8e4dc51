/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a record: one system call for each block, nothing held back.
 *
 * Lives in: the driver, which stands outside of what it kills; a kill of the driver itself loses
 * what lies in the rings and not yet here, and the segment still has that.
 * Crash: at most the last block is torn; a reader leaves it out.  After a full disk the file is
 * cut back to its last whole block, and a later call may go on.
 */
#ifndef QB_RECORD_WRITER_H
#define QB_RECORD_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "record/meta.h"
#include "shm/clock.h"
#include "shm/layout.h"

struct qb_record_writer;

struct qb_record_counter {
	char name[32];
	uint64_t value;
};

/* Creates path, 0644; it must not exist. 0 or -errno. */
int qb_record_create(const char *path, struct qb_record_writer **out, struct qb_err *err);

/* First, once. 0, QB_ETOOBIG (more tenant ids than a block holds) or -errno. */
int qb_record_meta(struct qb_record_writer *w, const struct qb_meta *meta, struct qb_err *err);

/*
 * count records of one seat that follow one another: events[i].seq == first_seq + i, where
 * first_seq is the sequence word of the first (its position + 1). The memory is read during the
 * call only and must not change meanwhile. 0 (also for count 0), QB_ECORRUPT when a sequence word
 * is another, or -errno.
 */
int qb_record_events(struct qb_record_writer *w, uint32_t seat, uint64_t first_seq,
		     const struct qb_event_shm *events, size_t count, struct qb_err *err);

/*
 * The two triples by which raw stamps convert, and qb_clock_mode_now. Right after the description
 * and then from time to time: the newest counts. 0 or -errno.
 */
int qb_record_clock(struct qb_record_writer *w, const struct qb_clock_triple *first,
		    const struct qb_clock_triple *last, struct qb_err *err);

/*
 * Marks an orderly end. "end_mono_ns" is when the run ended; "dropped" adds up the rings' dropped
 * events; other names are the caller's. 0 or -errno.
 */
int qb_record_end(struct qb_record_writer *w, const struct qb_record_counter *counters,
		  size_t count, struct qb_err *err);

/* A block of some other type whose body the caller has packed. 0, QB_ETOOBIG or -errno. */
int qb_record_block(struct qb_record_writer *w, uint32_t type, const void *body, size_t bytes,
		    struct qb_err *err);

uint64_t qb_record_bytes(const struct qb_record_writer *w);     /* of whole blocks so far */

/* fsync and close; w is gone whatever it returns. NULL is fine. 0 or -errno. */
int qb_record_close(struct qb_record_writer *w, struct qb_err *err);

#endif
