/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole reads and writes, replacement, and the removal of trees that stays inside them. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/strbuf.h"
#include "shm/status.h"

static char dir[64];
static int dirfd_;
static struct qb_err err;

static void set_up(void)
{
	qb_err_clear(&err);
	strcpy(dir, "/tmp/qb-test-fdio-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(fchdir(dirfd_), 0);
}

static void tear_down(void)
{
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(qb_remove_tree(dir), 0);
	close(dirfd_);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(qb_write_full(fd, text, strlen(text)), 0);
	close(fd);
}

static void assert_holds(const char *path, const char *text)
{
	size_t bytes;
	char *data;

	ck_assert_msg(!qb_read_file(path, 4096, &data, &bytes, &err), "%s", err.text);
	ck_assert_uint_eq(bytes, strlen(text));
	ck_assert_str_eq(data, text);
	free(data);
}

static int exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

START_TEST(file_is_read_whole_or_refused)
{
	char *data = NULL;
	size_t bytes = 0;

	put("f", "0123456789");
	ck_assert_int_eq(qb_read_file("f", 10, &data, &bytes, &err), 0);
	ck_assert_uint_eq(bytes, 10);
	ck_assert_str_eq(data, "0123456789");
	free(data);
	ck_assert_int_eq(qb_read_file("f", 9, &data, &bytes, &err), QB_ETOOBIG);
	ck_assert_str_eq(err.text, "could not read f: it is larger than 9 bytes");
	ck_assert_int_eq(qb_read_file("g", 9, &data, &bytes, &err), -ENOENT);
	ck_assert_str_eq(err.text, "could not open g: No such file or directory");
	ck_assert_int_eq(qb_read_file(".", 9, &data, &bytes, &err), -EISDIR);
	/* Larger than the first buffer, and a file that says its size is 0. */
	ck_assert_int_eq(truncate("f", 100000), 0);
	ck_assert_int_eq(qb_read_file("f", 100000, &data, &bytes, &err), 0);
	ck_assert_uint_eq(bytes, 100000);
	free(data);
	ck_assert_int_eq(qb_read_file("/proc/self/status", 100000, &data, &bytes, &err), 0);
	ck_assert_uint_gt(bytes, 100);
	ck_assert_uint_eq(strlen(data), bytes);
	free(data);
}
END_TEST

START_TEST(part_is_read_up_to_the_end)
{
	char buf[8];
	int fd;

	put("f", "0123456789");
	fd = open("f", O_RDONLY);
	ck_assert_int_eq(qb_pread_full(fd, buf, 4, 5), 4);
	ck_assert_mem_eq(buf, "5678", 4);
	ck_assert_int_eq(qb_pread_full(fd, buf, 8, 5), 5);
	ck_assert_int_eq(qb_pread_full(fd, buf, 8, 50), 0);
	close(fd);
	ck_assert_int_eq(qb_pread_full(fd, buf, 8, 0), -EBADF);
}
END_TEST

START_TEST(failed_write_is_reported)
{
	int fd = open("/dev/full", O_WRONLY);

	ck_assert_int_eq(qb_write_full(fd, "x", 1), -ENOSPC);
	ck_assert_int_eq(qb_write_full(fd, "x", 0), 0);
	close(fd);
	ck_assert_int_eq(qb_replace_file("no/f", "x", 1, 0600, &err), -ENOENT);
	ck_assert_str_eq(err.text, "could not create no/f.tmp: No such file or directory");
}
END_TEST

START_TEST(replacement_is_all_or_nothing)
{
	struct stat st;

	put("f", "old");
	put("outside", "precious");
	ck_assert_int_eq(symlink("outside", "f.tmp"), 0);
	ck_assert_msg(!qb_replace_file("f", "new!", 4, 0600, &err), "%s", err.text);
	assert_holds("f", "new!");
	assert_holds("outside", "precious");
	ck_assert(!exists("f.tmp"));
	ck_assert_int_eq(stat("f", &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);

	/* The last step fails: nothing is left behind. */
	ck_assert_int_eq(mkdir("d", 0755), 0);
	ck_assert_int_eq(qb_replace_file("d", "x", 1, 0600, &err), -EISDIR);
	ck_assert_str_eq(err.text, "could not rename d.tmp to d: Is a directory");
	ck_assert(!exists("d.tmp"));
}
END_TEST

START_TEST(directories_are_made_with_their_parents)
{
	char *path = qb_xasprintf("%s/a//b/c/", dir);

	ck_assert_msg(!qb_mkdir_p(path, 0755, &err), "%s", err.text);
	ck_assert_msg(!qb_mkdir_p(path, 0755, &err), "%s", err.text);
	ck_assert(exists("a/b/c"));
	free(path);
	ck_assert_int_eq(qb_mkdir_p("x", 0700, &err), 0);
	ck_assert_int_eq(qb_mkdir_p("/", 0700, &err), 0);
	put("file", "");
	ck_assert_int_eq(qb_mkdir_p("file/sub", 0755, &err), -ENOTDIR);
	ck_assert_str_eq(err.text, "could not create directory file: Not a directory");
	ck_assert_int_eq(qb_mkdir_p("", 0755, &err), -ENOENT);
	ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
	ck_assert_int_lt(qb_mkdir_p("dangling/x", 0755, &err), 0);
}
END_TEST

/* in/ is to be removed; out/ is what nothing in it may lead to. */
static void make_trees(void)
{
	ck_assert_int_eq(qb_mkdir_p("out/deep", 0755, &err), 0);
	put("out/file", "precious");
	put("out/deep/file", "precious");
	ck_assert_int_eq(qb_mkdir_p("in/a/b", 0755, &err), 0);
	ck_assert_int_eq(qb_mkdir_p("in/empty", 0755, &err), 0);
	put("in/file", "x");
	put("in/a/b/file", "x");
	ck_assert_int_eq(symlink("../out", "in/to-dir"), 0);
	ck_assert_int_eq(symlink("../../out/file", "in/a/to-file"), 0);
	ck_assert_int_eq(symlink("nowhere", "in/a/dangling"), 0);
	ck_assert_int_eq(symlink("..", "in/a/b/up"), 0);
	ck_assert_int_eq(mkfifo("in/fifo", 0600), 0);
}

static void assert_out_is_whole(void)
{
	assert_holds("out/file", "precious");
	assert_holds("out/deep/file", "precious");
}

START_TEST(remove_tree_does_not_follow_links)
{
	make_trees();
	ck_assert_int_eq(qb_remove_tree("in"), 0);
	ck_assert(!exists("in"));
	assert_out_is_whole();
	ck_assert_int_eq(qb_remove_tree("in"), -ENOENT);
}
END_TEST

START_TEST(remove_tree_refuses_a_link_as_its_top)
{
	make_trees();
	ck_assert_int_eq(symlink("out", "link"), 0);
	ck_assert_int_lt(qb_remove_tree("link"), 0);
	ck_assert_int_lt(qb_remove_tree("link/"), 0);
	ck_assert_int_lt(qb_remove_tree("link///"), 0);
	ck_assert(exists("link"));
	assert_out_is_whole();
	/* A link on the way to the top is the caller's own. */
	ck_assert_int_eq(qb_remove_tree("link/deep/"), 0);
	ck_assert(!exists("out/deep"));
}
END_TEST

START_TEST(remove_tree_refuses_what_it_cannot_finish)
{
	make_trees();
	ck_assert_int_eq(qb_remove_tree("out/."), -EINVAL);
	ck_assert_int_eq(qb_remove_tree("out/deep/.."), -EINVAL);
	ck_assert_int_eq(qb_remove_tree("."), -EINVAL);
	ck_assert_int_eq(qb_remove_tree("/"), -EINVAL);
	ck_assert_int_eq(qb_remove_tree("//"), -EINVAL);
	ck_assert_int_eq(qb_remove_tree(""), -ENOENT);
	ck_assert_int_eq(qb_remove_tree("in/file"), -ENOTDIR);
	assert_out_is_whole();
	ck_assert(exists("in/file"));
}
END_TEST

/* Deeper than PATH_MAX, with fewer descriptors than levels; and wide. */
START_TEST(remove_tree_handles_depth_and_width)
{
	struct rlimit few = { 16, 16 };
	int fd = dup(dirfd_), i;

	for (i = 0; i < 3000; i++) {
		int next;

		ck_assert_int_eq(mkdirat(fd, i ? "deeper" : "in", 0755), 0);
		next = openat(fd, i ? "deeper" : "in", O_RDONLY | O_DIRECTORY);
		ck_assert_int_ge(next, 0);
		close(fd);
		fd = next;
	}
	close(fd);
	for (i = 0; i < 300; i++) {
		char name[32];

		snprintf(name, sizeof(name), "in/wide%d", i);
		ck_assert_int_eq(mkdir(name, 0755), 0);
	}
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_eq(qb_remove_tree("in"), 0);
	ck_assert(!exists("in"));
}
END_TEST

/* A bind mount has the same device number: only the kernel can tell that it is another place. */
START_TEST(remove_tree_stays_off_mounts)
{
	make_trees();
	ck_assert_int_eq(mkdir("in/mnt", 0755), 0);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("out", "in/mnt", NULL, MS_BIND, NULL))
		return;         /* needs root */
	ck_assert_int_eq(qb_remove_tree("in"), -EXDEV);
	assert_out_is_whole();
	ck_assert_int_eq(umount("in/mnt"), 0);
	ck_assert_int_eq(mount("none", "in/mnt", "tmpfs", 0, NULL), 0);
	put("in/mnt/file", "precious");
	ck_assert_int_eq(qb_remove_tree("in"), -EXDEV);
	assert_holds("in/mnt/file", "precious");
	ck_assert_int_eq(umount("in/mnt"), 0);
	ck_assert_int_eq(qb_remove_tree("in"), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("fdio");
	TCase *tc = tcase_create("fdio");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, file_is_read_whole_or_refused);
	tcase_add_test(tc, part_is_read_up_to_the_end);
	tcase_add_test(tc, failed_write_is_reported);
	tcase_add_test(tc, replacement_is_all_or_nothing);
	tcase_add_test(tc, directories_are_made_with_their_parents);
	tcase_add_test(tc, remove_tree_does_not_follow_links);
	tcase_add_test(tc, remove_tree_refuses_a_link_as_its_top);
	tcase_add_test(tc, remove_tree_refuses_what_it_cannot_finish);
	tcase_add_test(tc, remove_tree_handles_depth_and_width);
	tcase_add_test(tc, remove_tree_stays_off_mounts);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
