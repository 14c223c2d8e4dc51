/* SPDX-License-Identifier: Apache-2.0 */
#include "report/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qb_section *section_of(struct qb_model *m, const char *scenario, const char *library)
{
	struct qb_section *s;
	size_t i = 0;

	while (i < m->sections_count && (strcmp(m->sections[i].scenario, scenario) != 0 ||
					 (library != NULL) != (m->sections[i].lib != NULL) ||
					 (library && strcmp(m->sections[i].lib, library) != 0)))
		i++;
	if (i < m->sections_count)
		return &m->sections[i];
	m->sections = qb_xrealloc(m->sections, ++m->sections_count * sizeof(*m->sections));
	s = &m->sections[i];
	memset(s, 0, sizeof(*s));
	s->scenario = scenario;
	s->lib = library;
	return s;
}

static void name_group(const struct qb_section *s, struct qb_group *g)
{
	if (!g->variant[0]) {
		snprintf(g->label, sizeof(g->label), "%s", g->lib);
		snprintf(g->name, sizeof(g->name), "%s", g->lib);
		return;
	}
	snprintf(g->label, sizeof(g->label), "%s%s%s", s->lib ? "" : g->lib, s->lib ? "" : ", ", g->variant);
	snprintf(g->name, sizeof(g->name), "%s with %s", g->lib, g->variant);
}

static struct qb_group *group_of(struct qb_section *s, const char *library, const char *variant)
{
	struct qb_group *g;
	size_t i = 0;

	while (i < s->groups_count &&
	       (strcmp(s->groups[i].lib, library) != 0 || strcmp(s->groups[i].variant, variant) != 0))
		i++;
	if (i < s->groups_count)
		return &s->groups[i];
	s->groups = qb_xrealloc(s->groups, ++s->groups_count * sizeof(*s->groups));
	g = &s->groups[i];
	memset(g, 0, sizeof(*g));
	g->lib = library;
	g->variant = variant;
	name_group(s, g);
	return g;
}

void qb_model_build(struct qb_model *m, const struct qb_report *r)
{
	memset(m, 0, sizeof(*m));
	for (size_t i = 0; i < r->entries_count; i++) {
		const struct qb_report_entry *e = &r->entries[i];
		const char *lib = e->summary->lib;
		struct qb_group *g = group_of(section_of(m, e->summary->scenario, e->meta->backlog ? lib : NULL), lib,
					      e->meta->variant);

		g->runs = qb_xrealloc(g->runs, ++g->runs_count * sizeof(*g->runs));
		g->runs[g->runs_count - 1] = e;
	}
}

void qb_model_free(struct qb_model *m)
{
	for (size_t s = 0; s < m->sections_count; s++) {
		for (size_t g = 0; g < m->sections[s].groups_count; g++)
			free(m->sections[s].groups[g].runs);
		free(m->sections[s].groups);
	}
	free(m->sections);
	memset(m, 0, sizeof(*m));
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct qb_over_runs qb_over_runs(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_value);
	return (struct qb_over_runs){ values[count / 2], values[0], values[count - 1] };
}
