/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON as Go and River's JSON library write it, on the bytes themselves: a unique key is a hash over them, so that
 * whoever parses a value and prints it again has another key.
 *
 * Lives in: process memory; nothing is copied, members point into the caller's text.  Never blocks.
 */
#ifndef QB_QUEUE_RIVER_GOJSON_H
#define QB_QUEUE_RIVER_GOJSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/* Deeper nesting is refused: the text comes from other processes. */
#define QB_JSON_DEPTH_MAX 64

struct qb_json_span { const char *data; size_t bytes; };

struct qb_json_member {
	struct qb_json_span key;        /* between the quotes, escapes as they are */
	struct qb_json_span value;      /* as written, without space around it */
};

/*
 * The members of the object in text, in the order they stand, each in turn: *at is NULL before the first.
 * 1 and *out; 0 behind the last; QB_EPARSE when text is no object, or has something behind it.
 */
int qb_json_next_member(struct qb_json_span text, const char **at, struct qb_json_member *out);

/* The first member with that (decoded) name: 1 and *value, 0 when there is none, QB_EPARSE. */
int qb_json_find(struct qb_json_span text, const char *name, size_t name_bytes, struct qb_json_span *value);

/* What a string between quotes means, as UTF-8; half a surrogate pair becomes U+FFFD. NUL bytes are possible. */
void qb_json_decode(struct qb_strbuf *to, struct qb_json_span raw);

/*
 * A string with its quotes as Go's encoding/json writes it: <, >, &, U+2028 and U+2029 escaped; U+FFFD for bad UTF-8.
 */
void qb_json_add_string(struct qb_strbuf *to, const char *text, size_t bytes);

#endif
