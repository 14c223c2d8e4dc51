/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers as people write them. Parsers take the whole string or fail: 0, or QB_EPARSE with *out
 * untouched; never a silent truncation or overflow.
 */
#ifndef QB_BASE_NUM_H
#define QB_BASE_NUM_H

#include <stddef.h>
#include <stdint.h>

/* "30s", "1m30s", "250ms", "1.5s", "2h"; units ns us ms s m h as in Go. A bare number other than 0 is refused. */
int qb_parse_duration(const char *text, uint64_t *ns);
int qb_parse_u64(const char *text, uint64_t *out);      /* decimal */
int qb_parse_size(const char *text, uint64_t *bytes);   /* "64", "64k", "16M", "1G", powers of 1024 */
int qb_parse_double(const char *text, double *out);     /* finite only */

/* Shortest readable form with unit: "1.50 s", "12.3 ms", "870 us". buf of at least 24 bytes; returns buf. */
const char *qb_format_duration(char *buf, size_t cap, uint64_t ns);
const char *qb_format_size(char *buf, size_t cap, uint64_t bytes);

/* Edit distance (insert, delete, substitute, swap neighbours), for "did you mean". */
unsigned qb_edit_distance(const char *a, const char *b);
/* The nearest of the NULL-terminated list within a third of its length, or NULL. */
const char *qb_nearest(const char *word, const char *const *list);

#endif
