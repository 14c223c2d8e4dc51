/* SPDX-License-Identifier: Apache-2.0 */
#include "record/meta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "base/rng.h"
#include "record/format.h"
#include "record/pack.h"
#include "record/unpack.h"
#include "shm/crc.h"
#include "shm/layout.h"
#include "shm/status.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BYTE_ORDER_NAME "little"
#else
#define BYTE_ORDER_NAME "big"
#endif

enum field_type { F_TEXT, F_U32, F_U64, F_DOUBLE };

struct field {
	const char *key;
	enum field_type type;
	size_t off, cap;
};

#define FIELD_AS(key, name, type) \
	{ key, type, offsetof(struct qb_meta, name), sizeof(((struct qb_meta *)0)->name) }
#define FIELD(name, type) FIELD_AS(#name, name, type)

/* The one list of simple members: packing and unpacking both walk it. */
static const struct field fields[] = {
	FIELD(run_id, F_TEXT), FIELD_AS("library", lib, F_TEXT), FIELD(scenario, F_TEXT),
	FIELD(duration_ns, F_U64), FIELD(rate, F_U32), FIELD(tenants, F_U32),
	FIELD(tenant_skew, F_DOUBLE), FIELD(seed, F_U64),
	FIELD(workers, F_U32), FIELD(slots, F_U32), FIELD(backlog, F_U64),
	FIELD(burst_start_ns, F_U64), FIELD(burst_end_ns, F_U64), FIELD(variant, F_TEXT),
	FIELD(ack, F_TEXT), FIELD(ambiguous, F_TEXT), FIELD(backoff, F_TEXT),
	FIELD(qbench_version, F_TEXT), FIELD(server_version, F_TEXT), FIELD(host, F_TEXT),
	FIELD(started_wall_ns, F_U64),
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))
#define HEAD_COUNT 5    /* format, layout_major, layout_minor, event_bytes, byte_order */
#define LIST_COUNT 4    /* kinds, error_classes, settings, tenant_ids */

static void pack_field(msgpack_packer *pk, const struct qb_meta *m, const struct field *f)
{
	const char *at = (const char *)m + f->off;
	uint32_t u32;
	uint64_t u64;
	double d;

	qb_pack_text(pk, f->key);
	switch (f->type) {
	case F_TEXT:
		qb_pack_text_max(pk, at, f->cap - 1);
		break;
	case F_U32:
		memcpy(&u32, at, sizeof(u32));
		msgpack_pack_uint32(pk, u32);
		break;
	case F_U64:
		memcpy(&u64, at, sizeof(u64));
		msgpack_pack_uint64(pk, u64);
		break;
	case F_DOUBLE:
		memcpy(&d, at, sizeof(d));
		msgpack_pack_double(pk, d);
		break;
	}
}

static void pack_head(msgpack_packer *pk)
{
	qb_pack_text(pk, "format");
	msgpack_pack_uint32(pk, QB_RECORD_VERSION);
	qb_pack_text(pk, "layout_major");
	msgpack_pack_uint32(pk, QB_LAYOUT_MAJOR);
	qb_pack_text(pk, "layout_minor");
	msgpack_pack_uint32(pk, QB_LAYOUT_MINOR);
	qb_pack_text(pk, "event_bytes");
	msgpack_pack_uint32(pk, sizeof(struct qb_event_shm));
	qb_pack_text(pk, "byte_order");
	qb_pack_text(pk, BYTE_ORDER_NAME);
}

static uint32_t at_most(uint32_t n, uint32_t max)
{
	return n < max ? n : max;
}

void qb_meta_pack(const struct qb_meta *m, struct qb_strbuf *out)
{
	uint32_t kinds = at_most(m->kinds_count, QB_META_KINDS_MAX);
	uint32_t classes = at_most(m->error_classes_count, QB_META_ERROR_CLASSES_MAX);
	uint32_t settings = at_most(m->settings_count, QB_META_SETTINGS_MAX);
	uint32_t ids = m->tenant_ids ? m->tenant_ids_count : 0;
	msgpack_packer pk;

	msgpack_packer_init(&pk, out, qb_pack_to_strbuf);
	msgpack_pack_map(&pk, HEAD_COUNT + FIELD_COUNT + LIST_COUNT);
	pack_head(&pk);
	for (size_t i = 0; i < FIELD_COUNT; i++)
		pack_field(&pk, m, &fields[i]);

	qb_pack_text(&pk, "kinds");
	msgpack_pack_array(&pk, kinds);
	for (uint32_t i = 0; i < kinds; i++)
		qb_pack_text_max(&pk, m->kinds[i], sizeof(m->kinds[i]) - 1);
	qb_pack_text(&pk, "error_classes");
	msgpack_pack_array(&pk, classes);
	for (uint32_t i = 0; i < classes; i++)
		qb_pack_text_max(&pk, m->error_classes[i], sizeof(m->error_classes[i]) - 1);
	qb_pack_text(&pk, "settings");
	msgpack_pack_map(&pk, settings);
	for (uint32_t i = 0; i < settings; i++) {
		const struct qb_meta_setting *s = &m->settings[i];

		qb_pack_text_max(&pk, s->key, sizeof(s->key) - 1);
		qb_pack_text_max(&pk, s->value, sizeof(s->value) - 1);
	}
	/* Last: a text dump of the head of a record stays readable. */
	qb_pack_text(&pk, "tenant_ids");
	msgpack_pack_array(&pk, ids);
	for (uint32_t i = 0; i < ids; i++)
		qb_pack_text_max(&pk, m->tenant_ids[i], QB_META_TENANT_BYTES - 1);
}

/* The members of which a wrong value means that the rest, or the events, cannot be read. */
struct head {
	uint32_t event_bytes;
	char byte_order[8];
};

static int unpack_texts(struct qb_unpack *u, char *out, size_t cap, uint32_t max, uint32_t *count)
{
	uint32_t n;

	if (qb_unpack_array(u, &n) < 0 || n > max)
		return QB_ECORRUPT;
	for (uint32_t i = 0; i < n; i++) {
		if (qb_unpack_text(u, out + i * cap, cap) < 0)
			return QB_ECORRUPT;
	}
	*count = n;
	return 0;
}

static int unpack_settings(struct qb_unpack *u, struct qb_meta *m)
{
	uint32_t n;

	if (qb_unpack_map(u, &n) < 0 || n > QB_META_SETTINGS_MAX)
		return QB_ECORRUPT;
	for (uint32_t i = 0; i < n; i++) {
		struct qb_meta_setting *s = &m->settings[i];

		if (qb_unpack_text(u, s->key, sizeof(s->key)) < 0 ||
		    qb_unpack_text(u, s->value, sizeof(s->value)) < 0)
			return QB_ECORRUPT;
	}
	m->settings_count = n;
	return 0;
}

/* The count was compared with the bytes left; the limit bounds what a byte each can blow up to. */
static int unpack_tenant_ids(struct qb_unpack *u, struct qb_meta *m)
{
	uint32_t n;

	if (qb_unpack_array(u, &n) < 0 || n > QB_META_TENANTS_MAX || m->tenant_ids)
		return QB_ECORRUPT;
	if (n == 0)
		return 0;
	m->tenant_ids = qb_xcalloc(n, sizeof(*m->tenant_ids));
	m->tenant_ids_count = n;
	for (uint32_t i = 0; i < n; i++) {
		if (qb_unpack_text(u, m->tenant_ids[i], QB_META_TENANT_BYTES) < 0)
			return QB_ECORRUPT;
	}
	return 0;
}

static int unpack_field(struct qb_unpack *u, struct qb_meta *m, const struct field *f)
{
	char *at = (char *)m + f->off;
	uint32_t u32;
	uint64_t u64;
	double d;
	int rc = QB_ECORRUPT;

	switch (f->type) {
	case F_TEXT:
		return qb_unpack_text(u, at, f->cap);
	case F_U32:
		rc = qb_unpack_u32(u, &u32);
		if (rc == 0)
			memcpy(at, &u32, sizeof(u32));
		break;
	case F_U64:
		rc = qb_unpack_u64(u, &u64);
		if (rc == 0)
			memcpy(at, &u64, sizeof(u64));
		break;
	case F_DOUBLE:
		rc = qb_unpack_double(u, &d);
		if (rc == 0)
			memcpy(at, &d, sizeof(d));
		break;
	}
	return rc;
}

static int unpack_value(struct qb_unpack *u, struct qb_meta *m, struct head *h, const char *key)
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		if (strcmp(key, fields[i].key) == 0)
			return unpack_field(u, m, &fields[i]);
	}
	if (strcmp(key, "format") == 0)
		return qb_unpack_u32(u, &m->format);
	if (strcmp(key, "layout_major") == 0)
		return qb_unpack_u32(u, &m->layout_major);
	if (strcmp(key, "layout_minor") == 0)
		return qb_unpack_u32(u, &m->layout_minor);
	if (strcmp(key, "event_bytes") == 0)
		return qb_unpack_u32(u, &h->event_bytes);
	if (strcmp(key, "byte_order") == 0)
		return qb_unpack_text(u, h->byte_order, sizeof(h->byte_order));
	if (strcmp(key, "kinds") == 0)
		return unpack_texts(u, m->kinds[0], sizeof(m->kinds[0]), QB_META_KINDS_MAX,
				    &m->kinds_count);
	if (strcmp(key, "error_classes") == 0)
		return unpack_texts(u, m->error_classes[0], sizeof(m->error_classes[0]),
				    QB_META_ERROR_CLASSES_MAX, &m->error_classes_count);
	if (strcmp(key, "settings") == 0)
		return unpack_settings(u, m);
	if (strcmp(key, "tenant_ids") == 0)
		return unpack_tenant_ids(u, m);
	return qb_unpack_skip(u);
}

static int unpack_map(struct qb_meta *m, struct head *h, const void *data, size_t bytes)
{
	struct qb_unpack u;
	uint32_t pairs;

	qb_unpack_init(&u, data, bytes);
	if (qb_unpack_map(&u, &pairs) < 0)
		return QB_ECORRUPT;
	for (uint32_t i = 0; i < pairs; i++) {
		const char *text;
		uint32_t key_bytes;
		char key[32] = "";

		if (qb_unpack_str(&u, &text, &key_bytes) < 0)
			return QB_ECORRUPT;
		/* A longer key is none that this build knows. */
		if (key_bytes < sizeof(key))
			memcpy(key, text, key_bytes);
		if (unpack_value(&u, m, h, key) < 0)
			return QB_ECORRUPT;
	}
	return 0;
}

int qb_meta_unpack(struct qb_meta *m, const void *data, size_t bytes)
{
	struct head h = { 0 };
	int rc;

	memset(m, 0, sizeof(*m));
	rc = unpack_map(m, &h, data, bytes);
	if (rc == 0 && (m->format == 0 || m->layout_major == 0))
		rc = QB_ECORRUPT;
	/* Also after an error: a newer format may well hold what this build takes for corrupt. */
	if (m->format > QB_RECORD_VERSION)
		rc = QB_EVERSION;
	if (rc == 0 && m->layout_major != QB_LAYOUT_MAJOR)
		rc = QB_EVERSION;
	if (rc == 0 && strcmp(h.byte_order, BYTE_ORDER_NAME) != 0)
		rc = QB_EENDIAN;
	if (rc == 0 && h.event_bytes != sizeof(struct qb_event_shm))
		rc = QB_EVERSION;
	if (rc < 0)
		qb_meta_free(m);
	return rc;
}

void qb_meta_tenant_id(const struct qb_meta *m, uint32_t tenant, char out[QB_META_TENANT_BYTES])
{
	struct qb_rng rng;

	if (m->tenant_ids && tenant < m->tenant_ids_count) {
		memcpy(out, m->tenant_ids[tenant], QB_META_TENANT_BYTES);
		return;
	}
	uint64_t run = qb_crc32c(0, m->run_id, strnlen(m->run_id, sizeof(m->run_id)));

	qb_rng_init(&rng, run << 32 | tenant, "tenant-id");
	uint64_t hi = qb_rng_next(&rng), lo = qb_rng_next(&rng);

	/* Version 4, variant 10: what any parser of UUIDs expects of a random one. */
	snprintf(out, QB_META_TENANT_BYTES, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(hi >> 32),
		 (unsigned)(hi >> 16 & 0xffff), (unsigned)(hi & 0xfff),
		 (unsigned)(lo >> 48 & 0x3fff) | 0x8000u,
		 (unsigned long long)(lo & 0xffffffffffffull));
}

int qb_meta_setting(struct qb_meta *m, const char *key, const char *value)
{
	if (m->settings_count >= QB_META_SETTINGS_MAX)
		return QB_ETOOBIG;
	struct qb_meta_setting *s = &m->settings[m->settings_count];

	if (strlen(key) >= sizeof(s->key) || strlen(value) >= sizeof(s->value))
		return QB_ETOOBIG;
	memset(s, 0, sizeof(*s));
	memcpy(s->key, key, strlen(key));
	memcpy(s->value, value, strlen(value));
	m->settings_count++;
	return 0;
}

void qb_meta_free(struct qb_meta *m)
{
	free(m->tenant_ids);
	memset(m, 0, sizeof(*m));
}
