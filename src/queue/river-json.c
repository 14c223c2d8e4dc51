/* SPDX-License-Identifier: Apache-2.0 */
/* Members of what Postgres has accepted as jsonb, or of a notification, which anybody may send. */
#include <stdlib.h>
#include <string.h>

#include "queue/river-gojson.h"
#include "queue/river.h"

int qb_river_json_get(const char *text, size_t bytes, const char *name, const char **value, size_t *value_bytes)
{
	struct qb_json_span found;

	if (qb_json_find((struct qb_json_span){ text, bytes }, name, strlen(name), &found) != 1)
		return 0;
	*value = found.data;
	*value_bytes = found.bytes;
	return 1;
}

int qb_river_json_i64(const char *value, size_t bytes, int64_t *out)
{
	char buf[24], *end;

	if (bytes == 0 || bytes >= sizeof(buf) || (*value != '-' && (*value < '0' || *value > '9')))
		return 0;
	memcpy(buf, value, bytes);
	buf[bytes] = 0;
	long long n = strtoll(buf, &end, 10);

	if (*end)
		return 0;
	*out = n;
	return 1;
}

int qb_river_json_string(const char *value, size_t bytes, char *buf, size_t cap)
{
	struct qb_strbuf text = { 0 };

	if (bytes < 2 || *value != '"' || value[bytes - 1] != '"')
		return 0;
	qb_json_decode(&text, (struct qb_json_span){ value + 1, bytes - 2 });
	size_t n = text.bytes < cap - 1 ? text.bytes : cap - 1;

	memcpy(buf, qb_strbuf_text(&text), n);
	buf[n] = 0;
	qb_strbuf_free(&text);
	return 1;
}
