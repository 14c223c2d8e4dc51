/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msgpack that nobody vouches for: the cursor of src/record/unpack.h, called as the input's first byte
 * says, and the description of a run, which is unpacked, packed and unpacked again.
 */
#include <stdlib.h>
#include <string.h>

#include "record/meta.h"
#include "record/unpack.h"
#include "shm/status.h"
#include "tests/fuzz/fuzz.h"

const char fuzz_name[] = "msgpack";
const size_t fuzz_bytes_max = 4096;
const uint64_t fuzz_runs = 1200000;

static volatile uint64_t sink;

/* What is pointed to is read: it must lie in the input. */
static void touch(const uint8_t *data, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		sink += data[i];
}

static void one_object(struct qb_unpack *u, unsigned how, const uint8_t *end)
{
	const uint8_t *before = u->at, *data;
	const char *text;
	char copy[40];
	uint32_t n;
	uint64_t v;
	double d;
	int rc = QB_ECORRUPT;

	switch (how) {
	case 0:
		rc = qb_unpack_map(u, &n);
		FUZZ_MUST(rc < 0 || 2 * (uint64_t)n <= (uint64_t)(end - u->at));
		break;
	case 1:
		rc = qb_unpack_array(u, &n);
		FUZZ_MUST(rc < 0 || n <= (uint64_t)(end - u->at));
		break;
	case 2: rc = qb_unpack_u64(u, &v); break;
	case 3: rc = qb_unpack_u32(u, &n); break;
	case 4: rc = qb_unpack_double(u, &d); break;
	case 5:
		rc = qb_unpack_str(u, &text, &n);
		if (rc == 0)
			touch((const uint8_t *)text, n);
		break;
	case 6:
		rc = qb_unpack_bin(u, &data, &n);
		if (rc == 0)
			touch(data, n);
		break;
	case 7:
		rc = qb_unpack_text(u, copy, sizeof(copy));
		FUZZ_MUST(rc < 0 || strlen(copy) < sizeof(copy));
		break;
	default: rc = qb_unpack_skip(u); break;
	}
	FUZZ_MUST(rc == 0 || rc == QB_ECORRUPT);
	FUZZ_MUST(u->at <= end && (rc < 0 || u->at > before));
}

/* The same object two ways: what a typed reader takes, skipping takes as well, to the same place. */
static void both_ways(const uint8_t *data, size_t bytes)
{
	struct qb_unpack typed, skipped;
	const uint8_t *blob;
	const char *text;
	uint32_t n;
	uint64_t v;
	double d;

	qb_unpack_init(&typed, data, bytes);
	skipped = typed;
	if (qb_unpack_u64(&typed, &v) < 0) {
		typed = skipped;
		if (qb_unpack_double(&typed, &d) < 0) {
			typed = skipped;
			if (qb_unpack_str(&typed, &text, &n) < 0) {
				typed = skipped;
				if (qb_unpack_bin(&typed, &blob, &n) < 0)
					return;
			}
		}
	}
	FUZZ_MUST(qb_unpack_skip(&skipped) == 0 && skipped.at == typed.at);
}

static void meta(const uint8_t *data, size_t bytes)
{
	struct qb_strbuf first = { 0 }, second = { 0 };
	struct qb_meta m, again;

	if (qb_meta_unpack(&m, data, bytes) < 0) {
		FUZZ_MUST(m.tenant_ids == NULL);
		return;
	}
	FUZZ_MUST(m.kinds_count <= QB_META_KINDS_MAX && m.settings_count <= QB_META_SETTINGS_MAX &&
		  m.error_classes_count <= QB_META_ERROR_CLASSES_MAX);
	FUZZ_MUST(memchr(m.run_id, 0, sizeof(m.run_id)) && memchr(m.host, 0, sizeof(m.host)));
	qb_meta_pack(&m, &first);
	FUZZ_MUST(qb_meta_unpack(&again, first.data, first.bytes) == 0);
	qb_meta_pack(&again, &second);
	FUZZ_MUST(first.bytes == second.bytes && !memcmp(first.data, second.data, first.bytes));
	qb_meta_free(&m);
	qb_meta_free(&again);
	qb_strbuf_free(&first);
	qb_strbuf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct qb_unpack u;

	if (bytes == 0)
		return 0;
	if (data[0] >= 0x80) {
		meta(data + 1, bytes - 1);
		return 0;
	}
	both_ways(data + 1, bytes - 1);
	/* One object after the other; the low bits of a byte before each say as what. */
	qb_unpack_init(&u, data, bytes);
	while (u.at < u.end) {
		unsigned how = *u.at++ % 9;

		if (u.at < u.end)
			one_object(&u, how, u.end);
	}
	return 0;
}

static void seed_meta(const struct qb_meta *m)
{
	struct qb_strbuf packed = { 0 };

	qb_strbuf_add(&packed, "\xff");
	qb_meta_pack(m, &packed);
	fuzz_seed(packed.data, packed.bytes);
	qb_strbuf_free(&packed);
}

void fuzz_seeds(void)
{
	static char ids[3][QB_META_TENANT_BYTES] = { "a", "b", "c" };
	static uint8_t bomb[4096];
	struct qb_meta m = {
		.run_id = "shm-steady-1", .lib = "shm", .scenario = "steady", .duration_ns = 1000000000,
		.rate = 100, .tenants = 3, .tenant_skew = 0.25, .seed = 7, .workers = 2, .slots = 1,
		.ack = "durable", .host = "h", .kinds_count = 2, .kinds = { "one", "two" },
		.error_classes_count = 2, .error_classes = { "", "transient" },
		.tenant_ids_count = 3, .tenant_ids = ids,
	};
	/* One of each: counts that are too large, lengths beyond the end, every kind of number. */
	static const char *const objects[] = {
		"\x08\x93\x01\xa3" "abc\xc4\x02xy", "\x08\xde\x00\x02\xa1k\x01\xa1l\xc0",
		"\x02\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "\x03\xce\xff\xff\xff\xff\x02\xd3\x7f\xff\xff\xff\xff\xff\xff\xff",
		"\x04\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18\x04\xca\x7f\x80\x01\x01",
		"\x05\xdb\xff\xff\xff\xff" "abc", "\x06\xc6\x01\x01\x01\x01" "abc", "\x01\xdd\xff\xff\xff\xff\x01",
		"\x01\xdf\x80\x01\x01\x01\x01", "\x08\xc9\xff\xff\xff\xff\x01" "abc", "\x08\xd8\x01" "0123456789abcdef",
		"\x07\xd9\x05hello\x07\xa5hello\x07\xda\x01\x02hello",
	};

	seed_meta(&m);
	m.settings_count = 1;
	snprintf(m.settings[0].key, sizeof(m.settings[0].key), "results-dir");
	snprintf(m.settings[0].value, sizeof(m.settings[0].value), "./results");
	m.tenant_ids_count = 0;
	m.tenant_ids = NULL;
	seed_meta(&m);
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++)
		fuzz_seed(objects[i], strlen(objects[i]));
	/* Nested as deep as it is long: arrays in arrays, maps in maps. */
	bomb[0] = 0x08;
	memset(bomb + 1, 0x91, sizeof(bomb) - 1);
	fuzz_seed(bomb, sizeof(bomb));
	memset(bomb + 1, 0x81, sizeof(bomb) - 1);
	fuzz_seed(bomb, sizeof(bomb));
	memset(bomb, 0x91, sizeof(bomb));
	fuzz_seed(bomb, 64);
}
