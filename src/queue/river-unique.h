/* SPDX-License-Identifier: Apache-2.0 */
/*
 * River's unique keys, byte for byte: SHA-256 over a text of kind, arguments, period and queue, as
 * River's clients in every language build it.  One byte off and the same job is there twice.
 *
 * The text:  &kind=KIND  &args=JSON  &period=RFC 3339  &queue=QUEUE, each only if it is asked for.
 * The arguments are hashed as they were encoded: values raw, keys of the top level sorted by their bytes.
 *
 * A column unique_states says in which states of a job its key is taken; bit 0 is the leftmost.
 *
 * Lives in: process memory.  Never blocks.  Any thread.
 */
#ifndef QB_QUEUE_RIVER_UNIQUE_H
#define QB_QUEUE_RIVER_UNIQUE_H

#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"
#include "queue/river.h"

/* The text that is hashed, for those who look for a difference. Adds to text. As qb_river_unique_key(). */
int qb_river_unique_text(const struct qb_river_unique *u, struct qb_strbuf *text, struct qb_err *err);

/*
 * The value of unique_states for a list of names, NULL at the end. QB_EUSAGE: an unknown one, or one of
 * available, pending, running, scheduled left out (without them a key would not hold while a job is on its way).
 */
int qb_river_unique_states(const char *const *names, uint8_t *mask, struct qb_err *err);

/* A bit of unique_states by the state's name, 0 for an unknown one. */
uint8_t qb_river_state_bit(const char *name);

#endif
