/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job as the JSON of a row: the members of the original adapter in its order, and two more where a job of ours
 * cannot be said otherwise (work that is no whole number of ms, attempts that are not 3).
 */
#include "queue/platlib-inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/status.h"
#include "workload/scenario.h"

#define MAX_ATTEMPTS_USUAL 3
#define TENANT_UUID "00000000-0000-4000-8000-%012x"

int64_t qb_platlib_type_of_name(const char *name)
{
	uint64_t h = 14695981039346656037ull;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 1099511628211ull;
	return (int64_t)h;
}

int64_t qb_platlib_type(uint16_t kind)
{
	char name[16];

	snprintf(name, sizeof(name), "kind-%u", kind);
	return qb_platlib_type_of_name(name);
}

/* ---- writing ---- */

void qb_platlib_json_string(struct qb_strbuf *out, const char *text)
{
	qb_strbuf_add(out, "\"");
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			qb_strbuf_printf(out, "\\%c", c);
		/* As Go's encoder does it. */
		else if (c < 0x20 || c == '<' || c == '>' || c == '&')
			qb_strbuf_printf(out, "\\u%04x", c);
		else
			qb_strbuf_add_bytes(out, text, 1);
	}
	qb_strbuf_add(out, "\"");
}

static void add_base64(struct qb_strbuf *out, const uint8_t *data, size_t bytes)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < bytes; i += 3) {
		size_t left = bytes - i;
		uint32_t v = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
			     (left > 2 ? data[i + 2] : 0u);
		char four[4] = { digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
				 left > 2 ? digits[v & 63] : '=' };

		qb_strbuf_add_bytes(out, four, 4);
	}
}

void qb_platlib_item_write(const struct qb_platlib_item *item, struct qb_strbuf *out)
{
	qb_strbuf_printf(out, "{\"work_id\":%llu,\"tenant_id\":\"" TENANT_UUID "\",\"kind\":\"kind-%u\",\"attempt\":%u,"
			 "\"payload\":{\"work_millis\":%u,\"bytes\":", (unsigned long long)item->job_id, item->tenant,
			 item->kind, item->attempt, item->work_us / 1000);
	if (item->payload_bytes) {
		qb_strbuf_add(out, "\"");
		add_base64(out, item->payload, item->payload_bytes);
		qb_strbuf_add(out, "\"");
	} else {
		qb_strbuf_add(out, "null");
	}
	if (item->error_class)
		qb_strbuf_printf(out, ",\"fail_with_error\":\"%s\"", qb_error_class_name(item->error_class));
	if (item->work_us % 1000)
		qb_strbuf_printf(out, ",\"work_micros\":%u", item->work_us);
	if (item->max_attempts != MAX_ATTEMPTS_USUAL)
		qb_strbuf_printf(out, ",\"max_attempts\":%u", item->max_attempts);
	qb_strbuf_add(out, "}}");
}

/* ---- reading ---- */

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

/* Behind the string that begins at p, or NULL. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p + 1 : NULL;
}

/* Behind the value that begins at p, or NULL. */
static const char *skip_value(const char *p, const char *end)
{
	int depth = 0;

	while (p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
			if (!p)
				return NULL;
			if (depth == 0)
				return p;
			continue;
		}
		if (*p == '{' || *p == '[')
			depth++;
		else if (*p == '}' || *p == ']') {
			if (depth == 0)
				return p;
			if (--depth == 0)
				return p + 1;
		} else if (depth == 0 && (*p == ',' || *p == ' '))
			return p;
		p++;
	}
	return depth == 0 ? p : NULL;
}

int qb_platlib_json_find(const char *json, size_t bytes, const char *name, const char **value, size_t *value_bytes)
{
	const char *end = json + bytes, *p = skip_space(json, end);
	size_t name_bytes = strlen(name);

	if (p == end || *p != '{')
		return QB_ECORRUPT;
	for (p = skip_space(p + 1, end); p < end && *p == '"';) {
		const char *key = p + 1;

		p = skip_string(p, end);
		if (!p)
			return QB_ECORRUPT;
		size_t key_bytes = (size_t)(p - key) - 1;

		p = skip_space(p, end);
		if (p == end || *p != ':')
			return QB_ECORRUPT;
		const char *from = skip_space(p + 1, end);

		p = skip_value(from, end);
		if (!p || p == from)
			return QB_ECORRUPT;
		if (key_bytes == name_bytes && memcmp(key, name, name_bytes) == 0) {
			int quoted = *from == '"';

			*value = from + quoted;
			*value_bytes = (size_t)(p - from) - 2 * (size_t)quoted;
			return 0;
		}
		p = skip_space(p, end);
		if (p == end || *p != ',')
			break;
		p = skip_space(p + 1, end);
	}
	return QB_ECORRUPT;
}

int qb_platlib_json_u64(const char *json, size_t bytes, const char *name, uint64_t *out)
{
	const char *text;
	size_t n;
	uint64_t v = 0;

	if (qb_platlib_json_find(json, bytes, name, &text, &n) < 0 || n == 0 || n > 20)
		return QB_ECORRUPT;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v))
			return QB_ECORRUPT;
	}
	*out = v;
	return 0;
}

void qb_platlib_json_text(const char *value, size_t bytes, char *out, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < bytes && n + 1 < cap; i++) {
		char c = value[i];

		if (c == '\\' && i + 1 < bytes) {
			c = value[++i];
			if (c == 'u' && i + 4 < bytes) {
				char hex[5] = { value[i + 1], value[i + 2], value[i + 3], value[i + 4], 0 };
				long code = strtol(hex, NULL, 16);

				i += 4;
				c = code > 0 && code < 0x80 ? (char)code : '?';
			} else if (c == 'n') {
				c = '\n';
			} else if (c == 't') {
				c = '\t';
			}
		}
		out[n++] = c;
	}
	out[n] = 0;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Bytes, or QB_ECORRUPT. out has room for 3 bytes of every 4. */
static int read_base64(const char *text, size_t n, uint8_t *out)
{
	size_t bytes = 0;

	if (n % 4)
		return QB_ECORRUPT;
	for (size_t i = 0; i < n; i += 4) {
		int d[4], pad = 0;

		for (int k = 0; k < 4; k++) {
			pad += text[i + k] == '=' && i + 4 == n && k >= 2;
			d[k] = text[i + k] == '=' && pad ? 0 : digit_of(text[i + k]);
			if (d[k] < 0)
				return QB_ECORRUPT;
		}
		uint32_t v = (uint32_t)(d[0] << 18 | d[1] << 12 | d[2] << 6 | d[3]);

		out[bytes++] = (uint8_t)(v >> 16);
		out[bytes++] = (uint8_t)(v >> 8);
		out[bytes++] = (uint8_t)v;
		bytes -= (size_t)pad;
	}
	return (int)bytes;
}

static uint16_t class_of(const char *name, size_t n)
{
	for (uint16_t c = 1; c < QB_ERROR_CLASS_COUNT; c++)
		if (strlen(qb_error_class_name(c)) == n && memcmp(qb_error_class_name(c), name, n) == 0)
			return c;
	return QB_ERROR_CLASS_NONE;
}

int qb_platlib_item_read(const void *json, size_t bytes, struct qb_platlib_item *item, uint8_t **buf)
{
	const char *tenant, *kind, *payload, *text;
	size_t tenant_bytes, kind_bytes, payload_bytes, n;
	uint64_t id, attempt, work, most = MAX_ATTEMPTS_USUAL;
	int got = 0;

	*buf = NULL;
	*item = (struct qb_platlib_item){ 0 };
	if (qb_platlib_json_u64(json, bytes, "work_id", &id) < 0 || qb_platlib_json_u64(json, bytes, "attempt", &attempt) < 0 ||
	    qb_platlib_json_find(json, bytes, "tenant_id", &tenant, &tenant_bytes) < 0 || tenant_bytes != 36 ||
	    qb_platlib_json_find(json, bytes, "kind", &kind, &kind_bytes) < 0 || kind_bytes < 6 || kind_bytes > 10 ||
	    memcmp(kind, "kind-", 5) != 0 || attempt == 0 || attempt > UINT16_MAX ||
	    qb_platlib_json_find(json, bytes, "payload", &payload, &payload_bytes) < 0 ||
	    qb_platlib_json_u64(payload, payload_bytes, "work_millis", &work) < 0 || work > UINT32_MAX / 1000 ||
	    qb_platlib_json_find(payload, payload_bytes, "bytes", &text, &n) < 0)
		return QB_ECORRUPT;
	if (n != 4 || memcmp(text, "null", 4) != 0 || text[-1] == '"') {
		*buf = qb_xmalloc(n / 4 * 3 + 1);
		got = read_base64(text, n, *buf);
	}
	item->job_id = id;
	/* The kind ends with a quote, a tenant's last twelve digits do, too: both are in front of other text. */
	item->tenant = (uint32_t)strtoul(tenant + 24, NULL, 16);
	item->kind = (uint16_t)strtoul(kind + 5, NULL, 10);
	item->attempt = (uint16_t)attempt;
	item->work_us = (uint32_t)work * 1000;
	if (qb_platlib_json_u64(payload, payload_bytes, "work_micros", &work) == 0 && work <= UINT32_MAX)
		item->work_us = (uint32_t)work;
	qb_platlib_json_u64(payload, payload_bytes, "max_attempts", &most);
	item->max_attempts = (uint16_t)most;
	if (qb_platlib_json_find(payload, payload_bytes, "fail_with_error", &text, &n) == 0)
		item->error_class = class_of(text, n);
	if (got < 0) {
		free(*buf);
		*buf = NULL;
		return QB_ECORRUPT;
	}
	item->payload = *buf;
	item->payload_bytes = (uint32_t)got;
	return 0;
}
