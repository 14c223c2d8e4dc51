/* SPDX-License-Identifier: Apache-2.0 */
#include "workload/ini.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "base/num.h"
#include "base/strbuf.h"
#include "shm/status.h"
#include "workload/keys.h"

#define KEYS_MAX 64

struct parser {
	const char *file;
	const char *next, *end;         /* what is not read yet */
	int line;                       /* of the line that inih has now; from 1 */
	int failed;                     /* the first complaint is in err, nothing more is read */
	int section;                    /* enum qb_section, or -1 before the first */
	uint32_t kind;                  /* in a [kind] section: its index */
	int section_lines[QB_SECTION_COUNT];                    /* 0: not seen */
	int kind_lines[QB_SCENARIO_KINDS_MAX];
	int key_lines[KEYS_MAX][QB_SCENARIO_KINDS_MAX];         /* [0] where not of a kind */
	struct qb_scenario *sc;
	struct qb_err *err;
};

static int __attribute__((format(printf, 3, 4)))
complain(struct parser *p, int line, const char *fmt, ...)
{
	char text[sizeof(p->err->text)];
	va_list ap;

	p->failed = 1;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (line)
		return qb_err_set(p->err, QB_EPARSE, "%s:%d: %s", p->file, line, text);
	return qb_err_set(p->err, QB_EPARSE, "%s: %s", p->file, text);
}

/* "did you mean X?", or all that there is. */
static char *hint(const char *word, const char *const *list)
{
	const char *near = qb_nearest(word, list);
	struct qb_strbuf sb = { 0 };

	if (near) {
		qb_strbuf_printf(&sb, "did you mean \"%s\"?", near);
		return sb.data;
	}
	qb_strbuf_add(&sb, "there is");
	for (; *list; list++)
		qb_strbuf_printf(&sb, " %s%s", *list, list[1] ? "," : "");
	return sb.data;
}

static void complain_unknown(struct parser *p, const char *what, const char *word,
			     const char *const *list)
{
	char *text = hint(word, list);

	complain(p, p->line, "unknown %s \"%s\"; %s", what, word, text);
	free(text);
}

static void begin_kind(struct parser *p, const char *name)
{
	struct qb_scenario *sc = p->sc;
	struct qb_scenario_kind *kind;

	if (!*name) {
		complain(p, p->line, "a [kind] section needs a name, like [kind entity_update]");
		return;
	}
	if (sc->kinds_count == QB_SCENARIO_KINDS_MAX) {
		complain(p, p->line, "more than %d kinds of jobs", QB_SCENARIO_KINDS_MAX);
		return;
	}
	kind = &sc->kinds[sc->kinds_count];
	if (strlen(name) >= sizeof(kind->name)) {
		complain(p, p->line, "the name of a kind has at most %zu characters",
			 sizeof(kind->name) - 1);
		return;
	}
	*kind = (struct qb_scenario_kind){ .weight = 1 };
	strcpy(kind->name, name);
	p->kind = sc->kinds_count++;
	p->kind_lines[p->kind] = p->line;
}

/* text: what is between the brackets, changed. */
static void begin_section(struct parser *p, char *text)
{
	char *word = text + strspn(text, " \t"), *rest;
	int i;

	rest = word + strcspn(word, " \t");
	if (*rest)
		*rest++ = '\0';
	rest += strspn(rest, " \t");
	for (i = (int)strlen(rest); i > 0 && strchr(" \t", rest[i - 1]); i--)
		rest[i - 1] = '\0';

	for (i = 0; i < QB_SECTION_COUNT; i++) {
		if (!strcmp(word, qb_section_names[i]))
			break;
	}
	if (i == QB_SECTION_COUNT) {
		complain_unknown(p, "section", word, qb_section_names);
		return;
	}
	p->section = i;
	if (i == QB_SECTION_KIND) {
		begin_kind(p, rest);
		return;
	}
	if (*rest)
		complain(p, p->line, "section [%s] takes no name", word);
	else if (p->section_lines[i])
		complain(p, p->line, "section [%s] is there already, on line %d", word,
			 p->section_lines[i]);
	else
		p->section_lines[i] = p->line;
	if (i == QB_SECTION_KEYS)
		p->sc->shape = QB_SHAPE_KEYS;
	if (i == QB_SECTION_CACHE)
		p->sc->shape = QB_SHAPE_CACHE;
}

/* A control character, or -1. They would travel from here into terminals and records. */
static int find_control(const char *line, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)line[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return c;
	}
	return -1;
}

/*
 * The next line for inih. It comes by way of us, because inih tells its handler neither where it is
 * nor that a section began, cuts long lines in two, and takes an indented line for the rest of the
 * one above.
 */
static char *read_line(char *buf, int cap, void *user)
{
	struct parser *p = user;
	const char *line = p->next, *stop;
	size_t bytes;
	int control;

	if (p->failed || line >= p->end)
		return NULL;
	p->line++;
	stop = memchr(line, '\n', (size_t)(p->end - line));
	if (!stop)
		stop = p->end;
	p->next = stop + 1;

	if (p->line == 1 && p->end - line >= 3 && !memcmp(line, "\xEF\xBB\xBF", 3))
		line += 3;
	while (line < stop && (*line == ' ' || *line == '\t'))
		line++;
	while (stop > line && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
		stop--;
	bytes = (size_t)(stop - line);
	control = find_control(line, bytes);
	if (control >= 0) {
		complain(p, p->line, "control character 0x%02x; is this a text file?",
			 (unsigned)control);
		return NULL;
	}
	if (cap < 3 || bytes > (size_t)cap - 3) {
		complain(p, p->line, "the line is longer than %d characters", cap - 3);
		return NULL;
	}
	memcpy(buf, line, bytes);
	buf[bytes] = '\0';
	if (*buf == '[') {
		char *close = strchr(buf, ']');
		const char *behind = close ? close + 1 + strspn(close + 1, " \t") : NULL;

		if (!close || (*behind && !strchr(";#", *behind))) {
			complain(p, p->line, "a section stands alone on its line, like [burst]");
			return NULL;
		}
		*close = '\0';
		begin_section(p, buf + 1);
		if (p->failed)
			return NULL;
		/* inih need not know which section it is. */
		strcpy(buf, "[]");
		bytes = 2;
	}
	buf[bytes] = '\n';
	buf[bytes + 1] = '\0';
	return buf;
}

/* 0, QB_EPARSE, or QB_ETOOBIG for what is a number and does not fit. */
static int read_u32(const char *text, uint32_t *value)
{
	uint64_t number;

	if (!*text || text[strspn(text, "0123456789")])
		return QB_EPARSE;
	if (qb_parse_u64(text, &number) || number > UINT32_MAX)
		return QB_ETOOBIG;
	*value = (uint32_t)number;
	return 0;
}

static int read_range(const char *text, uint32_t range[2])
{
	const char *dots = strstr(text, "..");
	char *first;
	int ret;

	if (!dots) {
		ret = read_u32(text, &range[0]);
		range[1] = range[0];
		return ret;
	}
	first = qb_xasprintf("%.*s", (int)(dots - text), text);
	ret = read_u32(first, &range[0]);
	free(first);
	return ret ? ret : read_u32(dots + 2, &range[1]);
}

/* "1, 2, 4"; QB_EPARSE also for more numbers than there is room for. */
static int read_list(const char *text, struct qb_scenario_list *list)
{
	int ret = 0;

	*list = (struct qb_scenario_list){ 0 };
	while (!ret) {
		size_t bytes = strcspn(text, ","), end = bytes;
		char *one;

		while (end > 0 && strchr(" \t", text[end - 1]))
			end--;
		one = qb_xasprintf("%.*s", (int)end, text);
		ret = list->count == QB_SCENARIO_LIST_MAX ? QB_EPARSE : read_u32(one, &list->values[list->count++]);
		free(one);
		if (!text[bytes])
			break;
		text += bytes + 1;
		text += strspn(text, " \t");
	}
	return ret;
}

/* Parse by type and check the range; a complaint on failure. */
static void read_value(struct parser *p, const struct qb_key *key, const char *text, void *value)
{
	struct qb_err why = { 0 };
	int ret = 0;

	switch (key->type) {
	case QB_KEY_TEXT:
		if (strlen(text) >= key->bytes) {
			complain(p, p->line, "%s has more than %zu characters", key->name,
				 key->bytes - 1);
			return;
		}
		strcpy(value, text);
		return;
	case QB_KEY_U32:
		ret = read_u32(text, value);
		break;
	case QB_KEY_U64:
		ret = qb_parse_u64(text, value);
		break;
	case QB_KEY_DOUBLE:
		ret = qb_parse_double(text, value);
		break;
	case QB_KEY_DURATION:
		ret = qb_parse_duration(text, value);
		break;
	case QB_KEY_RANGE:
		ret = read_range(text, value);
		break;
	case QB_KEY_LIST:
		ret = read_list(text, value);
		break;
	case QB_KEY_VICTIM:
		if (qb_victim_parse(text, value, &why))
			complain(p, p->line, "%s: %s", key->name, why.text);
		return;
	}
	if (ret == QB_ETOOBIG) {
		qb_key_out_of_range(key, text, &why);
		complain(p, p->line, "%s", why.text);
	} else if (ret) {
		static const char *const wanted[] = {
			[QB_KEY_U32] = "a whole number",
			[QB_KEY_U64] = "a whole number below 2^64",
			[QB_KEY_DOUBLE] = "a number",
			[QB_KEY_DURATION] = "a duration with its unit, like 30s, 1m30s or 250ms",
			[QB_KEY_RANGE] = "a number or a range, like 20 or 5..30",
			[QB_KEY_LIST] = "one to eight whole numbers, like 1, 2, 4",
		};

		complain(p, p->line, "%s: \"%s\" is not %s", key->name, text, wanted[key->type]);
	} else if (qb_key_check_range(key, value, &why)) {
		complain(p, p->line, "%s", why.text);
	}
}

static void complain_key(struct parser *p, const char *name)
{
	const char *names[KEYS_MAX], *elsewhere = NULL;
	const struct qb_key *key;
	size_t n = 0;

	for (key = qb_scenario_keys; key->name; key++) {
		if ((int)key->section == p->section)
			names[n++] = key->name;
		else if (!strcmp(key->name, name))
			elsewhere = qb_section_names[key->section];
	}
	names[n] = NULL;
	if (elsewhere)
		complain(p, p->line, "\"%s\" belongs into section [%s], not into [%s]", name,
			 elsewhere, qb_section_names[p->section]);
	else
		complain_unknown(p, "key", name, names);
}

/* Called by inih for each "name = value". Nonzero: good. */
static int on_value(void *user, const char *section, const char *name, const char *text)
{
	struct parser *p = user;
	const struct qb_key *key;
	int *line;

	(void)section;  /* read_line() knows it */
	if (p->failed)
		return 0;
	if (p->section < 0) {
		complain(p, p->line, "\"%s\" stands before the first section; begin with [%s]",
			 name, qb_section_names[QB_SECTION_SCENARIO]);
		return 0;
	}
	for (key = qb_scenario_keys; key->name; key++) {
		if ((int)key->section == p->section && !strcmp(key->name, name))
			break;
	}
	if (!key->name) {
		complain_key(p, name);
		return 0;
	}
	line = p->key_lines[key - qb_scenario_keys];
	if (p->section == QB_SECTION_KIND)
		line += p->kind;
	if (*line) {
		complain(p, p->line, "%s was given already, on line %d", name, *line);
		return 0;
	}
	*line = p->line;
	/* Ours to write: the scenario is not const, only the accessor is. */
	read_value(p, key, text ? text : "", (void *)qb_key_value(key, p->sc, p->kind));
	return !p->failed;
}

static void complain_useless(struct parser *p, const struct qb_key *key, int line)
{
	if (key->required == QB_REQUIRED_OF_LOAD)
		complain(p, line, "%s: a scenario with [%s] has none, one phase follows the other", key->name,
			 qb_shape_section(p->sc));
	else if (key->section == QB_SECTION_SCENARIO)
		complain(p, line, "%s: a scenario with [%s] has none, its jobs belong to addresses", key->name,
			 qb_shape_section(p->sc));
	else
		complain(p, line, "%s: means nothing without addresses", key->name);
}

/* Each section that is there, and [scenario] in any case, has its required keys. */
static void check_required(struct parser *p)
{
	const struct qb_key *key;

	for (key = qb_scenario_keys; key->name && !p->failed; key++) {
		int line = p->section_lines[key->section], at = p->key_lines[key - qb_scenario_keys][0];

		if (!qb_section_applies(key->section, p->sc) && line)
			complain(p, line, "section [%s] does not go together with [%s]",
				 qb_section_names[key->section], qb_shape_section(p->sc));
		else if (!qb_key_applies(key, p->sc) && at)
			complain_useless(p, key, at);
		if (key->required == QB_OPTIONAL || key->required == QB_NOT_OF_CACHE || at || p->failed ||
		    !qb_key_applies(key, p->sc))
			continue;
		if (line || key->section == QB_SECTION_SCENARIO)
			complain(p, line, "section [%s] must say %s",
				 qb_section_names[key->section], key->name);
	}
}

static void check_whole(struct parser *p)
{
	struct qb_blame blame = { 0 };
	struct qb_err why = { 0 };
	int line = 0;

	if (!qb_scenario_check_blame(p->sc, &blame, &why))
		return;
	if (blame.key) {
		int is_kind = blame.key->section == QB_SECTION_KIND;

		line = p->key_lines[blame.key - qb_scenario_keys][is_kind ? blame.kind : 0];
		/* Not said in the file: then the section is to blame. */
		if (!line || blame.whole)
			line = is_kind ? p->kind_lines[blame.kind] :
					 p->section_lines[blame.key->section];
	}
	complain(p, line, "%s", why.text);
}

int qb_ini_read(const char *file, const char *text, size_t bytes, struct qb_scenario *sc,
		struct qb_err *err)
{
	struct parser p = {
		.file = file, .next = text, .end = text + bytes,
		.section = -1, .sc = sc, .err = err,
	};
	int ret;

	ret = ini_parse_stream(read_line, &p, on_value, &p);
	/* inih goes on after a line that it cannot read; ours may come later than its first. */
	if (ret > 0 && (!p.failed || ret < p.line))
		complain(&p, ret, "neither [section] nor \"name = value\"");
	else if (ret < 0)
		complain(&p, p.line, "out of memory");
	if (!p.failed)
		check_required(&p);
	if (!p.failed)
		check_whole(&p);
	return p.failed ? QB_EPARSE : 0;
}
