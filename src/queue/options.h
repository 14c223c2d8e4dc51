/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be set of one queue, beside what is asked of all: "river:fetch-cooldown=2ms:poll=20ms" is a
 * queue's name and settings of its own, joined by colons.  The whole text is also the label under which a
 * result is shown, so that two settings of one queue stand beside each other in one table.
 *
 * A queue has a table; a value is a number (a duration in ns; a choice by its place in the list), found
 * at the index of its row.
 */
#ifndef QB_QUEUE_OPTIONS_H
#define QB_QUEUE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct qb_queue_ops;

#define QB_QUEUE_OPTIONS_MAX 24
/* Of the whole text, NUL included. */
#define QB_QUEUE_LABEL_BYTES 96

enum qb_queue_option_type { QB_QUEUE_DURATION, QB_QUEUE_COUNT, QB_QUEUE_CHOICE };

/* A table ends with a row without a name. */
struct qb_queue_option {
	const char *name;               /* "fetch-cooldown" */
	enum qb_queue_option_type type;
	const char *const *choices;     /* of a choice; NULL at the end */
	uint64_t min, max;              /* of the others, inclusive */
	const char *preset;             /* as one would write it */
	const char *help;
};

/* The one by which --lease=TIME sets how long a held job is believed to be alive, where a queue has such a thing. */
#define QB_QUEUE_LEASE_OPTION "lease"
/* The one that says whose use of a library is followed; under "published" nobody gives back what the dead held. */
#define QB_QUEUE_ADAPTER_OPTION "adapter"
#define QB_QUEUE_ADAPTER_PUBLISHED "published"
/* Whose weaknesses are mended. */
#define QB_QUEUE_ADAPTER_FIXED "fixed"

/*
 * "name=value:name=value", or NULL or "" for the presets. values has room for QB_QUEUE_OPTIONS_MAX.
 * 0, or QB_EUSAGE: an unknown name (with the nearest one), a value that cannot be, the same name twice.
 */
int qb_queue_options_parse(const struct qb_queue_ops *ops, const char *text, uint64_t *values, struct qb_err *err);

/* A value as one would write it; returns buf. */
const char *qb_queue_option_text(const struct qb_queue_option *option, uint64_t value, char *buf, size_t cap);

struct qb_queue_spec {
	const struct qb_queue_ops *ops;
	char label[QB_QUEUE_LABEL_BYTES];       /* "river:fetch-cooldown=2ms"; "river" without settings */
	const char *options;                    /* in label, behind the first colon; "" without */
};

/* 0, or QB_EUSAGE: no such queue (with the nearest), a setting that is wrong, a label that is too long. */
int qb_queue_spec_parse(const char *text, struct qb_queue_spec *out, struct qb_err *err);
/* Adds a setting unless it is there already. 0 or QB_EUSAGE as above. Does nothing when the queue has no such option. */
int qb_queue_spec_set(struct qb_queue_spec *spec, const char *name, const char *value, struct qb_err *err);
/* Where the copy of a spec lies, its options do, too. */
void qb_queue_spec_copy(struct qb_queue_spec *to, const struct qb_queue_spec *from);

#endif
