/* SPDX-License-Identifier: Apache-2.0 */
/* Members of what Postgres has accepted as jsonb, or of a notification, which anybody may send. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/river-gojson.h"
#include "queue/river.h"

int qb_river_json_get(const char *text, size_t bytes, const char *name, const char **value, size_t *value_bytes)
{
	struct qb_json_span whole = { text, bytes };
	struct qb_json_member member;
	size_t name_bytes = strlen(name);
	const char *at = NULL;
	int rc, found = 0;

	/* To the end, because half an object is none; and names with escapes are none of ours. */
	while ((rc = qb_json_next_member(whole, &at, &member)) == 1) {
		if (member.key.bytes != name_bytes || memcmp(member.key.data, name, name_bytes) != 0)
			continue;
		*value = member.value.data;
		*value_bytes = member.value.bytes;
		found = 1;
	}
	return rc == 0 && found;
}

int qb_river_json_i64(const char *value, size_t bytes, int64_t *out)
{
	char buf[24], *end;

	if (bytes == 0 || bytes >= sizeof(buf) || (*value != '-' && (*value < '0' || *value > '9')))
		return 0;
	memcpy(buf, value, bytes);
	buf[bytes] = 0;
	errno = 0;
	long long n = strtoll(buf, &end, 10);

	if (*end || errno)
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
