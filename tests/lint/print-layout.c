/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What shm/layout.h comes to on this machine, as text: the version, each field with its offset and
 * its size, the widths of the packed words, and the size of some segments.  layout.golden holds
 * what it must be; see doc/shm-layout.md.
 */
#include <inttypes.h>
#include <stdio.h>

#include "shm/ring.h"
#include "shm/segment.h"

static void print(const char *name, uint64_t off, uint64_t bytes, void *ctx)
{
	(void)ctx;
	printf("%-40s %8" PRIu64 " %8" PRIu64 "\n", name, off, bytes);
}

static void print_size(const char *name, const struct qb_config_shm *cfg)
{
	printf("%-40s %17" PRId64 "\n", name, qb_seg_bytes(cfg));
}

int main(void)
{
	struct qb_config_shm cfg;

	printf("layout %d.%d\n", QB_LAYOUT_MAJOR, QB_LAYOUT_MINOR);
	qb_layout_each(print, NULL);
	printf("%-40s %17s\n", "word gen:attempt:seat:failures:state", "26:16:12:4:6");
	printf("%-40s %17" PRIx64 "\n", "qb_word(1, 1, 1, 1, 1)", qb_word(1, 1, 1, 1, 1));
	printf("%-40s %17" PRIx64 "\n", "qb_sync(1, 1, 1)", qb_sync(1, 1, 1));
	printf("%-40s %17" PRIx64 "\n", "qb_slot_word(1, 1, 1, 1)", qb_slot_word(1, 1, 1, 1));
	printf("%-40s %17" PRIx64 "\n", "qb_seat_word(1, 1, 1)", qb_seat_word(1, 1, 1));
	printf("%-40s %17" PRIx64 "\n", "qb_ending(1, qb_word(1, 1, 0, 0, 0))", qb_ending(1, qb_word(1, 1, 0, 0, 0)));
	for (uint32_t i = 0; i < QB_JOB_STATE_COUNT; i++)
		printf("%-40s %17" PRIu32 "\n", qb_job_state_name(i), i);
	for (uint32_t i = 1; i < QB_EV_TYPE_COUNT; i++)
		printf("%-40s %17" PRIu32 "\n", qb_event_type_name(i), i);
	qb_config_default(&cfg);
	print_size("segment: default", &cfg);
	cfg.job_count = QB_JOB_MAX;
	cfg.ring_count = 2 * QB_JOB_MAX;
	cfg.seat_count = 257;
	print_size("segment: 256 seats, 1048576 slots", &cfg);
	cfg.block_count = 4 * QB_JOB_MAX;
	cfg.effect_count = QB_JOB_MAX;
	print_size("segment: and 4 KiB of payload a slot", &cfg);
	return 0;
}
