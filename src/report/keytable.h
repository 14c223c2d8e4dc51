/* SPDX-License-Identifier: Apache-2.0 */
/* What a queue guarantees for unique keys: one table for each library, and a sentence made of its numbers. Private. */
#ifndef QB_REPORT_KEYTABLE_H
#define QB_REPORT_KEYTABLE_H

#include <jansson.h>

#include "report/model.h"

/* Was anything of the section a run on unique keys? */
int qb_section_has_keys(const struct qb_section *s);

/* All runs of the library as one: counts added, medians the median of theirs. set is zero when none was such a run. */
void qb_key_total(const struct qb_group *g, struct qb_key_table *out);

/* Column 0 is the phase. */
#define QB_KEY_COLUMNS 9
/* row < QB_KEY_PHASES. */
const char *qb_key_heading(unsigned column);
void qb_key_cell(const struct qb_key_table *t, unsigned row, unsigned column, char cell[QB_CELL_BYTES]);

/* What became of the jobs whose worker was killed; and what it all guarantees. Each a sentence, appended. */
void qb_key_holders(const struct qb_key_table *t, struct qb_strbuf *out);
void qb_key_guarantee(const struct qb_key_table *t, struct qb_strbuf *out);

/* unique_keys of summary.json; null for another run. */
json_t *qb_key_json(const struct qb_key_table *t);

#endif
