/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/decode.h"

#include <stdio.h>

void qb_decode_kind(const struct qb_trace *t, unsigned kind, char *out, size_t cap)
{
	if (kind < t->meta.kinds_count)
		snprintf(out, cap, "%s", t->meta.kinds[kind]);
	else
		snprintf(out, cap, "kind-%u", kind);
}

void qb_decode_error_class(const struct qb_trace *t, unsigned error_class, char *out, size_t cap)
{
	if (error_class < t->meta.error_classes_count)
		snprintf(out, cap, "%s", t->meta.error_classes[error_class]);
	else if (error_class == 0)
		out[0] = '\0';
	else
		snprintf(out, cap, "class-%u", error_class);
}
