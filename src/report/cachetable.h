/* SPDX-License-Identifier: Apache-2.0 */
/* What a cache on a queue did: two tables for each library, and sentences made of their numbers. Private. */
#ifndef QB_REPORT_CACHETABLE_H
#define QB_REPORT_CACHETABLE_H

#include <jansson.h>

#include "report/model.h"

/* Was anything of the section a run on a cache? */
int qb_section_has_cache(const struct qb_section *s);

/* All runs of the library as one: counts added, percentiles the median of theirs. set is zero when none was such a run. */
void qb_cache_total(const struct qb_group *g, struct qb_cache_table *out);

enum qb_cache_grid { QB_CACHE_COUNTS, QB_CACHE_TIMES, QB_CACHE_GRIDS };
/* How many columns, of which 0 names the phase; and the phases to be shown: 1 or 0. QB_CACHE_PHASES is the total. */
unsigned qb_cache_columns(enum qb_cache_grid grid);
int qb_cache_shows(const struct qb_cache_table *t, enum qb_cache_grid grid, unsigned row);
const char *qb_cache_heading(enum qb_cache_grid grid, unsigned column);
void qb_cache_cell(const struct qb_cache_table *t, enum qb_cache_grid grid, unsigned row, unsigned column,
		   char cell[QB_CELL_BYTES]);

/* What it comes to; lib is what it is called. Sentences, appended. */
void qb_cache_sentences(const struct qb_cache_table *t, const char *lib, struct qb_strbuf *out);

/* "cache" of summary.json; null for another run. */
json_t *qb_cache_json(const struct qb_cache_table *t);

#endif
