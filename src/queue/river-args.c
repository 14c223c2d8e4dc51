/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arguments of a benchmark job: {tenant_id, kind, payload {work_millis, bytes, fail_with_error}} as the original
 * has them, and behind them what this benchmark needs to find a job again: job_id and work_us.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/river-gojson.h"
#include "queue/river-tables.h"
#include "shm/crc.h"
#include "shm/status.h"
#include "workload/scenario.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct qb_strbuf *out, const uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += 3) {
		uint32_t v = (uint32_t)data[i] << 16;
		char four[4];

		v |= i + 1 < bytes ? (uint32_t)data[i + 1] << 8 : 0;
		v |= i + 2 < bytes ? data[i + 2] : 0;
		four[0] = digits[v >> 18];
		four[1] = digits[v >> 12 & 63];
		four[2] = i + 1 < bytes ? digits[v >> 6 & 63] : '=';
		four[3] = i + 2 < bytes ? digits[v & 63] : '=';
		qb_strbuf_add_bytes(out, four, sizeof(four));
	}
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Bytes, or -1: no base64, or too many. */
static long read_base64(const char *text, size_t bytes, uint8_t *out, size_t cap)
{
	size_t used = 0;

	while (bytes && text[bytes - 1] == '=')
		bytes--;
	if (bytes % 4 == 1 || bytes / 4 * 3 + (bytes % 4 ? bytes % 4 - 1 : 0) > cap)
		return -1;
	for (size_t i = 0; i < bytes; i += 4) {
		size_t n = bytes - i < 4 ? bytes - i : 4;
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = k < n ? digit_value(text[i + k]) : 0;

			if (d < 0)
				return -1;
			v = v << 6 | (uint32_t)d;
		}
		for (size_t k = 0; k + 1 < n; k++)
			out[used++] = (uint8_t)(v >> (16 - 8 * k));
	}
	return (long)used;
}

void qb_river_args_write(struct qb_strbuf *out, const struct qb_submit *job, const char *key)
{
	qb_strbuf_printf(out, "{\"tenant_id\":\"tenant-%u\",\"kind\":\"kind-%u\",\"payload\":{\"work_millis\":%u,\"bytes\":",
			 job->tenant, job->kind, job->work_us / 1000);
	if (job->payload_bytes == 0) {
		qb_strbuf_add(out, "null");
	} else {
		qb_strbuf_add(out, "\"");
		add_base64(out, job->payload, job->payload_bytes);
		qb_strbuf_add(out, "\"");
	}
	if (job->error_class)
		qb_strbuf_printf(out, ",\"fail_with_error\":\"%s\"", qb_error_class_name(job->error_class));
	qb_strbuf_printf(out, "},\"job_id\":%llu,\"work_us\":%u", (unsigned long long)job->job_id, job->work_us);
	if (key) {
		qb_strbuf_add(out, ",\"key\":");
		qb_json_add_string(out, key, strlen(key));
	}
	qb_strbuf_add(out, "}");
}

static int64_t member_i64(const char *text, size_t bytes, const char *name, int64_t otherwise)
{
	const char *value;
	size_t n;
	int64_t out;

	return qb_river_json_get(text, bytes, name, &value, &n) && qb_river_json_i64(value, n, &out) ? out : otherwise;
}

/* The number behind the last '-' of "tenant-12" or "kind-3"; 0 where somebody else chose the name. */
static uint32_t member_index(const char *text, size_t bytes, const char *name)
{
	const char *value, *dash;
	char buf[64];
	size_t n;

	if (!qb_river_json_get(text, bytes, name, &value, &n) || !qb_river_json_string(value, n, buf, sizeof(buf)))
		return 0;
	dash = strrchr(buf, '-');
	return dash ? (uint32_t)strtoul(dash + 1, NULL, 10) : 0;
}

static uint16_t error_class(const char *payload, size_t bytes)
{
	const char *value;
	char name[32];
	size_t n;

	if (!qb_river_json_get(payload, bytes, "fail_with_error", &value, &n) ||
	    !qb_river_json_string(value, n, name, sizeof(name)) || !*name)
		return QB_ERROR_CLASS_NONE;
	for (uint16_t i = 1; i < QB_ERROR_CLASS_COUNT; i++)
		if (strcmp(qb_error_class_name(i), name) == 0)
			return i;
	/* Some other failure is one that may pass. */
	return QB_ERROR_CLASS_TRANSIENT;
}

int qb_river_args_read(const char *args, size_t bytes, struct qb_queue_job *job, uint8_t *payload, struct qb_err *err)
{
	const char *inner = "{}", *value;
	size_t inner_bytes = 2, n;
	long got = 0;

	if (qb_river_json_get(args, bytes, "payload", &value, &n)) {
		inner = value;
		inner_bytes = n;
	}
	job->job_id = (uint64_t)member_i64(args, bytes, "job_id", 0);
	job->tenant = member_index(args, bytes, "tenant_id");
	job->kind = (uint16_t)member_index(args, bytes, "kind");
	job->work_us = (uint32_t)member_i64(args, bytes, "work_us",
					    1000 * member_i64(inner, inner_bytes, "work_millis", 0));
	job->error_class = error_class(inner, inner_bytes);
	/* Base64 has no letter that JSON escapes, except '/', which jsonb prints as it is. */
	if (qb_river_json_get(inner, inner_bytes, "bytes", &value, &n) && *value == '"')
		got = read_base64(value + 1, n - 2, payload, QB_PAYLOAD_BYTES_MAX);
	if (got < 0)
		return qb_err_set(err, QB_EPARSE, "job %llu: its payload is no base64, or too long",
				  (unsigned long long)job->job_id);
	job->payload_bytes = (uint32_t)got;
	job->payload_crc = qb_crc32c(0, payload, (size_t)got);
	return 0;
}
