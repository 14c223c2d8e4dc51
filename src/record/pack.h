/* SPDX-License-Identifier: Apache-2.0 */
/* What msgpack-c's packer leaves to its user: strings in one call, and where the bytes go. */
#ifndef QB_RECORD_PACK_H
#define QB_RECORD_PACK_H

#include <string.h>

#include <msgpack.h>

#include "base/strbuf.h"

static inline int qb_pack_to_strbuf(void *to, const char *data, size_t bytes)
{
	qb_strbuf_add_bytes(to, data, bytes);
	return 0;
}

/* At most max bytes: the text of a fixed array, whose NUL may be missing. */
static inline void qb_pack_text_max(msgpack_packer *pk, const char *text, size_t max)
{
	size_t bytes = strnlen(text, max);

	msgpack_pack_str(pk, bytes);
	msgpack_pack_str_body(pk, text, bytes);
}

static inline void qb_pack_text(msgpack_packer *pk, const char *text)
{
	qb_pack_text_max(pk, text, strlen(text));
}

#endif
