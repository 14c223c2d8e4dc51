/* SPDX-License-Identifier: Apache-2.0 */
/* A small segment in a file of a directory of its own, for the tests of segment.c. */
#ifndef QB_TESTS_SEGMENTTEST_H
#define QB_TESTS_SEGMENTTEST_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/segment.h"
#include "tests/lib/shm-fixture.h"

static char dir[512], path[576], other[576];
static struct qb_config_shm cfg;
static struct qb_seg made;
static size_t bytes;

static void setup(void)
{
	const struct qb_seg_identity id = { .run_id = "a-run", .cluster_id = 7, .boot_id = 42,
					    .creator_start_ticks = 9, .meta = "meta!", .meta_bytes = 5 };

	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/qb-segment-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/seg", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	qb_test_config(&cfg);
	ck_assert_int_eq(qb_seg_create(path, &cfg, &id, &made), 0);
	bytes = made.bytes;
}

static void teardown(void)
{
	qb_seg_detach(&made);
	unlink(path);
	unlink(other);
	rmdir(other);
	rmdir(dir);
}

#endif
