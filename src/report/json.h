/* SPDX-License-Identifier: Apache-2.0 */
/* Values of summary.json. Private to this room. Each returns a new reference; qb_json_add() takes one. */
#ifndef QB_REPORT_JSON_H
#define QB_REPORT_JSON_H

#include <jansson.h>

#include "report/model.h"

json_t *qb_json_count(uint64_t n);
json_t *qb_json_real(double v);         /* null unless finite */
json_t *qb_json_ms(uint64_t ns);        /* null for QB_BEYOND_WATCH */
json_t *qb_json_percentiles(const struct qb_percentiles *p);    /* in ms */
void qb_json_add(json_t *object, const char *key, json_t *value);

/* json-shapes.c */
json_t *qb_json_backlog(const struct qb_backlog *b);
json_t *qb_json_retries(const struct qb_retries *r);
json_t *qb_json_share(const struct qb_share *s, double scaling);

#endif
