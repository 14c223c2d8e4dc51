/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/decode.h"

#include <stdio.h>

#include "base/cacheset.h"

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

const char *qb_decode_cache_way(unsigned way)
{
	static const char *const names[QB_CACHE_WAYS] = { "hit", "joined", "executed" };

	return way < QB_CACHE_WAYS ? names[way] : "unknown";
}

const char *qb_decode_cache_fault(unsigned fault)
{
	static const char *const names[QB_CACHE_FAULTS] = { "ok", "failure", "not_found", "deadline", "error", "damaged" };

	return fault < QB_CACHE_FAULTS ? names[fault] : "unknown";
}

const char *qb_decode_cache_work(uint64_t work)
{
	static const char *const names[] = { "put", "found", "failed" };

	return work < sizeof(names) / sizeof(names[0]) ? names[work] : "unknown";
}
