/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "queue/queue.h"

static size_t count_of(const struct qb_queue_option *table)
{
	size_t n = 0;

	while (table && table[n].name)
		n++;
	return n;
}

/* 0, or QB_EUSAGE with the reason. */
static int parse_value(const struct qb_queue_option *o, const char *text, uint64_t *value, struct qb_err *err)
{
	int rc = 0;

	switch (o->type) {
	case QB_QUEUE_CHOICE:
		for (uint64_t i = 0; o->choices[i]; i++)
			if (strcmp(o->choices[i], text) == 0) {
				*value = i;
				return 0;
			}
		qb_err_set(err, QB_EUSAGE, "%s: \"%s\" is none of", o->name, text);
		for (uint64_t i = 0; err && o->choices[i]; i++) {
			size_t used = strlen(err->text);

			snprintf(err->text + used, sizeof(err->text) - used, "%s %s", i ? "," : "", o->choices[i]);
		}
		return QB_EUSAGE;
	case QB_QUEUE_DURATION:
		rc = qb_parse_duration(text, value);
		break;
	case QB_QUEUE_COUNT:
		rc = qb_parse_u64(text, value);
		break;
	}
	if (rc < 0)
		return qb_err_set(err, QB_EUSAGE, "%s: \"%s\" is no %s", o->name, text,
				  o->type == QB_QUEUE_DURATION ? "time; write 100ms, 2s or 1h" : "number");
	if (*value < o->min || *value > o->max) {
		char least[32], most[32];

		return qb_err_set(err, QB_EUSAGE, "%s: %s is not between %s and %s", o->name, text,
				  qb_queue_option_text(o, o->min, least, sizeof(least)),
				  qb_queue_option_text(o, o->max, most, sizeof(most)));
	}
	return 0;
}

static int parse_one(const struct qb_queue_ops *ops, char *word, uint64_t *values, uint32_t *given, struct qb_err *err)
{
	const char *names[QB_QUEUE_OPTIONS_MAX + 1] = { NULL };
	char *value = strchr(word, '=');
	size_t n = count_of(ops->options);

	if (value)
		*value++ = 0;
	for (size_t i = 0; i < n; i++) {
		const struct qb_queue_option *o = &ops->options[i];

		names[i] = o->name;
		if (strcmp(o->name, word) != 0)
			continue;
		if (!value)
			return qb_err_set(err, QB_EUSAGE, "%s: write %s=VALUE", ops->name, word);
		if (*given & 1u << i)
			return qb_err_set(err, QB_EUSAGE, "%s: %s is given twice", ops->name, word);
		*given |= 1u << i;
		return parse_value(o, value, &values[i], err) < 0 ? qb_err_context(err, "%s", ops->name) : 0;
	}
	const char *near = qb_nearest(word, names);

	return qb_err_set(err, QB_EUSAGE, "%s has no setting \"%s\"%s%s%s; see 'qbench list'", ops->name, word,
			  near ? "; did you mean \"" : "", near ? near : "", near ? "\"" : "");
}

int qb_queue_options_parse(const struct qb_queue_ops *ops, const char *text, uint64_t *values, struct qb_err *err)
{
	char *copy = qb_xstrdup(text ? text : ""), *rest = copy, *word;
	uint32_t given = 0;
	int rc = 0;

	for (size_t i = 0; i < count_of(ops->options) && rc == 0; i++)
		rc = parse_value(&ops->options[i], ops->options[i].preset, &values[i], err);
	while (rc == 0 && *copy && (word = strsep(&rest, ":")))
		rc = parse_one(ops, word, values, &given, err);
	free(copy);
	return rc;
}

const char *qb_queue_option_text(const struct qb_queue_option *option, uint64_t value, char *buf, size_t cap)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "h", 3600 * QB_NS_PER_S }, { "m", 60 * QB_NS_PER_S }, { "s", QB_NS_PER_S }, { "ms", QB_NS_PER_MS },
		{ "us", QB_NS_PER_US }, { "ns", 1 },
	};
	/* 0 reads best in seconds. */
	size_t i = value ? 0 : 2;

	if (option->type == QB_QUEUE_CHOICE) {
		snprintf(buf, cap, "%s", option->choices[value]);
		return buf;
	}
	if (option->type == QB_QUEUE_COUNT) {
		snprintf(buf, cap, "%llu", (unsigned long long)value);
		return buf;
	}
	while (value % units[i].ns)
		i++;
	snprintf(buf, cap, "%llu%s", (unsigned long long)(value / units[i].ns), units[i].name);
	return buf;
}

static void point_options(struct qb_queue_spec *s)
{
	const char *colon = strchr(s->label, ':');

	s->options = colon ? colon + 1 : s->label + strlen(s->label);
}

int qb_queue_spec_parse(const char *text, struct qb_queue_spec *out, struct qb_err *err)
{
	size_t name_bytes = strcspn(text, ":");
	uint64_t values[QB_QUEUE_OPTIONS_MAX];
	char name[QB_QUEUE_LABEL_BYTES];

	if (strlen(text) >= sizeof(out->label))
		return qb_err_set(err, QB_EUSAGE, "a library with its settings has at most %zu characters",
				  sizeof(out->label) - 1);
	snprintf(name, sizeof(name), "%.*s", (int)name_bytes, text);
	out->ops = qb_queue_find(name);
	if (!out->ops)
		return qb_err_set(err, QB_EUSAGE, "there is no library \"%s\"; see 'qbench list'", name);
	if (text[name_bytes] && !text[name_bytes + 1])
		return qb_err_set(err, QB_EUSAGE, "%s: a setting is missing behind the colon", name);
	snprintf(out->label, sizeof(out->label), "%s", text);
	point_options(out);
	return qb_queue_options_parse(out->ops, out->options, values, err);
}

int qb_queue_spec_set(struct qb_queue_spec *spec, const char *name, const char *value, struct qb_err *err)
{
	struct qb_queue_spec wider;
	char text[2 * QB_QUEUE_LABEL_BYTES], *copy, *rest, *word;
	size_t n = strlen(name);
	int known = 0, given = 0;

	for (size_t i = 0; i < count_of(spec->ops->options); i++)
		known |= strcmp(spec->ops->options[i].name, name) == 0;
	rest = copy = qb_xstrdup(spec->options);
	while ((word = strsep(&rest, ":")))
		given |= strncmp(word, name, n) == 0 && word[n] == '=';
	free(copy);
	if (!known || given)
		return 0;
	snprintf(text, sizeof(text), "%s:%s=%s", spec->label, name, value);
	int rc = qb_queue_spec_parse(text, &wider, err);

	if (rc == 0)
		qb_queue_spec_copy(spec, &wider);
	return rc;
}

void qb_queue_spec_copy(struct qb_queue_spec *to, const struct qb_queue_spec *from)
{
	*to = *from;
	point_options(to);
}
