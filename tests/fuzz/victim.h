/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small segment and a small record to do harm to, the same bytes every time: what differs from one
 * making to the next (pids, stamps, clocks) is set to fixed numbers.
 */
#ifndef QB_TESTS_FUZZ_VICTIM_H
#define QB_TESTS_FUZZ_VICTIM_H

#include <stddef.h>
#include <stdint.h>

#include "shm/segment.h"

/* A copy of it, aligned to a page, with memory behind it that nobody may read. Never freed. */
uint8_t *fuzz_victim_segment(size_t *bytes);

/* The record of a run of so many jobs with one kill, with an end and what became of the jobs. malloc'ed. */
uint8_t *fuzz_victim_record(uint32_t jobs, size_t *bytes);

/* A file of this process under TMPDIR, 0600, empty; gone when the process ends by itself. Path and fd. */
const char *fuzz_temp_file(int *fd);

/* Writes all of it there or ends the program. */
void fuzz_write_at(int fd, const void *data, size_t bytes, uint64_t off);

#endif
