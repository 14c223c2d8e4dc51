/* SPDX-License-Identifier: Apache-2.0 */
/* The formats of decode-events, each in a file of its own. */
#ifndef QB_TOOLS_DECODE_H
#define QB_TOOLS_DECODE_H

#include "record/load.h"
#include "tools/emit.h"

/* All: t has at least one event. Errors of writing are in out->failed. */

/* 0, or -1: out of memory. One JSON object a line, in the format of the original benchmark. */
int qb_decode_jsonl(const struct qb_trace *t, struct qb_out *out);

/* Chrome's trace event format, which Perfetto and chrome://tracing open. */
void qb_decode_chrome(const struct qb_trace *t, struct qb_out *out);

/* A page for a person. */
void qb_decode_summary(const struct qb_trace *t, struct qb_out *out);

/* The kind of a job as text, "kind-9" for one that the description does not name. */
void qb_decode_kind(const struct qb_trace *t, unsigned kind, char *out, size_t cap);
void qb_decode_error_class(const struct qb_trace *t, unsigned error_class, char *out, size_t cap);
/* Of a cache: "hit", "deadline", "found" and the like; "unknown" for what a later version may write. */
const char *qb_decode_cache_way(unsigned way);
const char *qb_decode_cache_fault(unsigned fault);
const char *qb_decode_cache_work(uint64_t work);

#endif
