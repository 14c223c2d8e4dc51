/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of a test program's own. Made and removed by unchecked fixtures, which run in the runner itself: whatever
 * becomes of a test, what it made is removed.
 */
#ifndef QB_TESTS_LIB_TESTDIR_H
#define QB_TESTS_LIB_TESTDIR_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/fdio.h"

static char qb_test_dir[256];

static inline void qb_test_dir_make(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(qb_test_dir, sizeof(qb_test_dir), "%.200s/qb-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(qb_test_dir));
}

static inline void qb_test_dir_remove(void)
{
	qb_remove_tree(qb_test_dir);
}

/* Before each test. */
static inline void qb_test_dir_empty(void)
{
	qb_remove_tree(qb_test_dir);
	ck_assert_int_eq(mkdir(qb_test_dir, 0700), 0);
}

#endif
