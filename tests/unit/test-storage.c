/* SPDX-License-Identifier: Apache-2.0 */
/* Items in files: the contract, names that mean harm, links, readers that keep their item. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strbuf.h"
#include "cache/storage.h"
#include "shm/status.h"
#include "tests/lib/store-item.h"
#include "tests/lib/testdir.h"

static char root[300];
static struct qb_store *store;
static struct qb_err err;

static struct qb_store *open_store(void)
{
	const struct qb_store_config cfg = { .chunk_bytes = 100 };
	struct qb_store *s = NULL;

	ck_assert_msg(qb_store_open(root, &cfg, &s, &err) == 0, "%s", err.text);
	return s;
}

static void set_up(void)
{
	qb_err_clear(&err);
	qb_test_dir_empty();
	snprintf(root, sizeof(root), "%s/s", qb_test_dir);
	store = open_store();
}

static void tear_down(void)
{
	qb_store_close(store);
}

static void put(const char *d, const char *a, const char *text)
{
	ck_assert_msg(qb_store_put_bytes(store, d, a, text, strlen(text), &err) == 0, "%s", err.text);
}

static void assert_holds(const char *d, const char *a, const char *text)
{
	size_t bytes;
	void *data;
	int rc = qb_store_get_bytes(store, d, a, 1000000, &data, &bytes, NULL, &err);

	if (!text) {
		ck_assert_int_eq(rc, 0);
		return;
	}
	ck_assert_msg(rc == 1, "%s/%s: %d %s", d, a, rc, err.text);
	ck_assert_uint_eq(bytes, strlen(text));
	ck_assert_mem_eq(data, text, bytes);
	free(data);
}

static char *in_root(const char *name)
{
	return qb_xasprintf("%s/%s", root, name);
}

static int exists(const char *name)
{
	char *path = in_root(name);
	struct stat st;
	int there = lstat(path, &st) == 0;

	free(path);
	return there;
}

/* Names of all items, "d/a " after one another, with their sizes. */
static int add_name(void *ctx, const char *d, const char *a, const struct qb_store_info *info)
{
	qb_strbuf_printf(ctx, "%s/%s=%llu%s ", d, a, (unsigned long long)info->bytes, info->complete ? "" : "+");
	return 0;
}

static void assert_list(const char *want)
{
	struct qb_strbuf sb = { 0 };

	ck_assert_msg(qb_store_enumerate(store, add_name, &sb, &err) == 0, "%s", err.text);
	ck_assert_str_eq(qb_strbuf_text(&sb), want);
	qb_strbuf_free(&sb);
}

static int stop_at_second(void *ctx, const char *d, const char *a, const struct qb_store_info *info)
{
	(void)d;
	(void)a;
	(void)info;
	return ++*(int *)ctx == 2 ? 42 : 0;
}

START_TEST(item_is_there_until_it_is_removed)
{
	struct qb_store_info info;
	struct stat st;

	ck_assert_int_eq(qb_store_check(store, "a/b", "x", &info, &err), 0);
	ck_assert_int_eq(qb_store_remove(store, "a/b", "x", &err), 0);
	put("a/b", "x", "first");
	uint64_t now = qb_wall_ns();

	ck_assert_int_eq(qb_store_check(store, "a/b", "x", &info, &err), 1);
	ck_assert_uint_eq(info.bytes, 5);
	ck_assert(!info.chunked && info.complete);
	ck_assert(info.mtime_ns <= now && info.mtime_ns > now - 60 * QB_NS_PER_S);
	ck_assert_int_eq(qb_store_check(store, "a/b", "x", NULL, &err), 1);
	assert_holds("a/b", "x", "first");
	put("a/b", "x", "");
	assert_holds("a/b", "x", "");
	put("", "x", "at the top");
	assert_holds("", "x", "at the top");
	assert_holds("a/b", "y", NULL);
	assert_holds("a", "x", NULL);
	ck_assert_int_eq(stat(root, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	ck_assert_int_eq(qb_store_flush(store, "a/b", "x", &err), 0);
	ck_assert_int_eq(qb_store_flush(store, "a/b", "none", &err), 0);
	ck_assert_int_eq(qb_store_remove(store, "a/b", "x", &err), 1);
	assert_holds("a/b", "x", NULL);
	/* With its last item a directory goes. */
	ck_assert(!exists("a"));
	ck_assert_str_eq(qb_store_root(store), root);
}
END_TEST

START_TEST(reader_keeps_its_item_over_a_put_and_a_removal)
{
	struct qb_store_reader *r;
	struct qb_store_info info;
	char buf[16];

	put("d", "x", "old item");
	ck_assert_int_eq(qb_store_get(store, "d", "x", &r, &info, &err), 1);
	ck_assert_int_eq(qb_store_read(r, buf, 3, &err), 3);
	put("d", "x", "something newer");
	ck_assert_int_eq(qb_store_remove(store, "d", "x", &err), 1);
	ck_assert_int_eq(qb_store_read(r, buf + 3, 10, &err), 5);
	ck_assert_mem_eq(buf, "old item", 8);
	ck_assert_int_eq(qb_store_read(r, buf, 10, &err), 0);
	qb_store_reader_close(r);
	qb_store_reader_close(NULL);
	ck_assert_int_eq(qb_store_get(store, "d", "x", &r, &info, &err), 0);
}
END_TEST

START_TEST(larger_than_asked_for_is_refused)
{
	size_t bytes;
	void *data;

	put("", "x", "0123456789");
	ck_assert_int_eq(qb_store_get_bytes(store, "", "x", 9, &data, &bytes, NULL, &err), QB_ETOOBIG);
	ck_assert_int_eq(qb_store_get_bytes(store, "", "x", 10, &data, &bytes, NULL, &err), 1);
	ck_assert_uint_eq(bytes, 10);
	free(data);
}
END_TEST

static const struct { const char *dir, *address, *why; } hostile[] = {
	{ "", "", "empty" }, { "", ".", ". or .." }, { "", "..", ". or .." }, { "", "a/b", "slash" }, { "", "../x", "slash" },
	{ "", "/etc", "slash" }, { "", ".qb-put.0123", "begins with" }, { "", ".qb-growing.x", "begins with" }, { "", ".qb-", "begins with" },
	{ "..", "x", ". or .." }, { "a/..", "x", ". or .." }, { "../../tmp", "x", ". or .." }, { ".", "x", ". or .." }, { "a/./b", "x", ". or .." },
	{ "/", "x", "relative" }, { "/tmp", "x", "relative" }, { "a/", "x", "empty" }, { "a//b", "x", "empty" }, { ".qb-x/a", "x", "begins with" },
	{ "a/.qb-growing.b", "x", "begins with" }, { "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "x", "deeper" },
};

static void refuse_each_way(const char *d, const char *a, const char *why)
{
	struct qb_store_reader *r;
	struct item_source src = { .number = 1 };
	size_t bytes;
	void *data;
	int rc[] = {
		qb_store_check(store, d, a, NULL, &err), qb_store_get(store, d, a, &r, NULL, &err),
		qb_store_get_bytes(store, d, a, 10, &data, &bytes, NULL, &err), qb_store_remove(store, d, a, &err),
		qb_store_move(store, d, a, store, "", "ok", &err), qb_store_move(store, "", "there", store, d, a, &err),
		qb_store_copy(store, d, a, store, "", "ok", &err), qb_store_copy(store, "", "there", store, d, a, &err),
		qb_store_flush(store, d, a, &err), qb_store_put_chunked(store, d, a, 0, item_write, &src, &err),
		qb_store_put_bytes(store, d, a, "x", 1, &err),
	};

	for (size_t i = 0; i < sizeof(rc) / sizeof(rc[0]); i++)
		ck_assert_msg(rc[i] == QB_EUSAGE, "way %zu of %s/%s: %d", i, d, a, rc[i]);
	ck_assert_msg(strstr(err.text, why) != NULL, "%s", err.text);
}

START_TEST(name_that_leads_out_is_refused)
{
	char text[300];

	put("", "there", "1");
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++)
		refuse_each_way(hostile[i].dir, hostile[i].address, hostile[i].why);
	memset(text, 'n', 241);
	text[241] = 0;
	refuse_each_way("", text, "longer");
	refuse_each_way(text, "x", "longer");
	assert_list("/there=1 ");
	/* What only looks like it is a name. */
	text[240] = 0;
	put(text, text, "long");
	assert_holds(text, text, "long");
	ck_assert_int_eq(qb_store_put_chunked(store, "g", text, 0, item_write, &(struct item_source){ .number = 5 }, &err), 0);
	ck_assert_uint_eq(item_there(store, "g", text), 5);
	put("1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", "...", "deep");
	put("..a", ".b", "dots");
	put("sp ace\n", "\xff\x01*?", "bytes");
	assert_holds("sp ace\n", "\xff\x01*?", "bytes");
	assert_holds("..a", ".b", "dots");
}
END_TEST

START_TEST(links_and_pipes_are_not_followed)
{
	char *link_dir = in_root("to-dir"), *link_item = in_root("d/to-item"), *pipe_name = in_root("d/pipe"), *outside = qb_xasprintf("%s/out", qb_test_dir);
	char *precious = qb_xasprintf("%s/out/file", qb_test_dir), *data;
	struct item_source src = { .number = 3 };
	size_t bytes;

	put("d", "x", "item");
	ck_assert_int_eq(mkdir(outside, 0700), 0);
	ck_assert_int_eq(qb_replace_file(precious, "precious", 8, 0600, &err), 0);
	ck_assert_int_eq(symlink(outside, link_dir), 0);
	ck_assert_int_eq(symlink(precious, link_item), 0);
	ck_assert_int_eq(mkfifo(pipe_name, 0600), 0);
	ck_assert_int_lt(qb_store_check(store, "to-dir", "file", NULL, &err), 0);
	ck_assert_msg(strstr(err.text, "a name on the way is a link, or an item") != NULL, "%s", err.text);
	ck_assert_int_lt(qb_store_put_bytes(store, "to-dir", "new", "x", 1, &err), 0);
	ck_assert_int_lt(qb_store_put_chunked(store, "to-dir", "new", 0, item_write, &src, &err), 0);
	ck_assert_int_lt(qb_store_remove(store, "to-dir", "file", &err), 0);
	ck_assert_int_lt(qb_store_move(store, "to-dir", "file", store, "", "stolen", &err), 0);
	ck_assert_int_lt(qb_store_move(store, "d", "x", store, "to-dir", "x", &err), 0);
	ck_assert_int_lt(qb_store_check(store, "d", "to-item", NULL, &err), 0);
	ck_assert_msg(strstr(err.text, "is not a regular file") != NULL, "%s", err.text);
	ck_assert_int_lt(qb_store_check(store, "", "to-dir", NULL, &err), 0);
	ck_assert_int_lt(qb_store_remove(store, "d", "to-item", &err), 0);
	ck_assert_int_lt(qb_store_move(store, "d", "to-item", store, "", "stolen", &err), 0);
	ck_assert_int_lt(qb_store_copy(store, "d", "to-item", store, "", "stolen", &err), 0);
	ck_assert_int_lt(qb_store_check(store, "d", "pipe", NULL, &err), 0);
	ck_assert_int_lt(qb_store_move(store, "d", "pipe", store, "", "p", &err), 0);
	assert_list("d/x=4 ");
	/* A put takes the link's place, and not the place that it leads to. */
	put("d", "to-item", "mine");
	put("d", "pipe", "mine");
	assert_list("d/pipe=4 d/to-item=4 d/x=4 ");
	ck_assert_int_eq(qb_read_file(precious, 100, &data, &bytes, &err), 0);
	ck_assert_str_eq(data, "precious");
	/* Nor does the sweep go there. */
	ck_assert_int_eq(unlink(precious), 0);
	qb_store_close(open_store());
	ck_assert_int_eq(access(outside, F_OK), 0);
	free(data);
	free(link_dir);
	free(link_item);
	free(pipe_name);
	free(outside);
	free(precious);
}
END_TEST

START_TEST(directory_and_item_do_not_share_a_name)
{
	struct item_source src = { .number = 3 };

	put("a", "b", "item");
	ck_assert_int_eq(qb_store_put_bytes(store, "", "a", "x", 1, &err), -EISDIR);
	ck_assert_int_eq(qb_store_put_chunked(store, "", "a", 0, item_write, &src, &err), -EISDIR);
	ck_assert_int_eq(qb_store_put_bytes(store, "a/b", "c", "x", 1, &err), -ENOTDIR);
	ck_assert_int_eq(qb_store_put_bytes(store, "a/b/c/d", "e", "x", 1, &err), -ENOTDIR);
	ck_assert_int_eq(qb_store_check(store, "", "a", NULL, &err), 0);
	ck_assert_int_eq(qb_store_remove(store, "", "a", &err), 0);
	ck_assert_int_eq(qb_store_move(store, "", "a", store, "", "z", &err), 0);
	assert_list("a/b=4 ");
	ck_assert_uint_eq(qb_store_swept(store), 0);
}
END_TEST

static int write_too_much(void *ctx, struct qb_store_sink *sink, struct qb_err *e)
{
	static const char block[4096];
	int rc = 0;

	for (int i = 0; i < 10; i++)
		rc = sink->write(sink, block, sizeof(block), e);
	ck_assert_int_eq(rc, -EFBIG);
	/* And says that all is well. */
	return *(int *)ctx;
}

START_TEST(resolver_that_fails_leaves_the_old_item)
{
	struct item_source src = { .number = 9, .step = 70, .fails_at_end = -ECANCELED };
	const struct rlimit limit = { 20000, 20000 };
	int well = 0;

	put("a", "x", "old");
	ck_assert_int_eq(qb_store_put(store, "a", "x", item_write, &src, &err), -ECANCELED);
	ck_assert_str_eq(err.text, "the work has failed");
	ck_assert_int_eq(qb_store_put_chunked(store, "a", "x", 0, item_write, &src, &err), -ECANCELED);
	ck_assert_int_eq(qb_store_put(store, "new/dir", "x", item_write, &src, &err), -ECANCELED);
	ck_assert(!exists("new"));
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(qb_store_put(store, "a", "x", write_too_much, &well, &err), -EFBIG);
	ck_assert_msg(strstr(err.text, "could not write a/x") != NULL, "%s", err.text);
	ck_assert_int_eq(qb_store_put_chunked(store, "a", "x", 0, write_too_much, &well, &err), -EFBIG);
	src.fails_at_end = 0;
	ck_assert_int_eq(qb_store_put_chunked(store, "a", "x", item_bytes(9) + 1, item_write, &src, &err), QB_EVERIFY);
	assert_list("a/x=3 ");
	struct qb_store *again = open_store();

	ck_assert_uint_eq(qb_store_swept(again), 0);
	qb_store_close(again);
}
END_TEST

START_TEST(list_is_in_order_and_adds_up)
{
	struct qb_store_usage u;
	int calls = 0;

	assert_list("");
	put("b", "z", "1");
	put("b", "a", "22");
	put("", "m", "333");
	put("a/c", "q", "4444");
	put("a", "r", "55555");
	assert_list("/m=3 a/r=5 a/c/q=4 b/a=2 b/z=1 ");
	ck_assert_int_eq(qb_store_enumerate(store, stop_at_second, &calls, &err), 42);
	ck_assert_int_eq(calls, 2);
	ck_assert_int_eq(qb_store_usage(store, &u, &err), 0);
	ck_assert_uint_eq(u.items, 5);
	ck_assert_uint_eq(u.bytes, 15);
	ck_assert(u.total_bytes > 0 && u.free_bytes <= u.total_bytes);
}
END_TEST

static void set_time(const char *name, time_t s)
{
	const struct timespec times[2] = { { s, 5 }, { s, 5 } };
	char *path = in_root(name);

	ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
	free(path);
}

START_TEST(item_is_moved_and_copied)
{
	struct qb_store_info info;

	put("a", "x", "item");
	put("", "y", "in the way");
	set_time("a/x", 1000);
	ck_assert_int_eq(qb_store_move(store, "a", "x", store, "", "y", &err), 1);
	assert_list("/y=4 ");
	ck_assert(!exists("a"));
	ck_assert_int_eq(qb_store_check(store, "", "y", &info, &err), 1);
	ck_assert_uint_eq(info.mtime_ns, 1000 * QB_NS_PER_S + 5);
	ck_assert_int_eq(qb_store_move(store, "", "y", store, "", "y", &err), 1);
	ck_assert_int_eq(qb_store_copy(store, "", "y", store, "", "y", &err), 1);
	ck_assert_int_eq(qb_store_copy(store, "", "y", store, "b/c", "z", &err), 1);
	assert_list("/y=4 b/c/z=4 ");
	ck_assert_int_eq(qb_store_check(store, "b/c", "z", &info, &err), 1);
	ck_assert_uint_ne(info.mtime_ns, 1000 * QB_NS_PER_S + 5);
	ck_assert_int_eq(qb_store_move(store, "", "none", store, "n", "n", &err), 0);
	ck_assert_int_eq(qb_store_copy(store, "", "none", store, "n", "n", &err), 0);
	ck_assert_int_eq(qb_store_move(store, "no/dir", "none", store, "n", "n", &err), 0);
	ck_assert(!exists("n"));
}
END_TEST

/* One on another file system, where there is one. */
START_TEST(item_moves_to_another_store)
{
	char elsewhere[] = "/dev/shm/qb-test-storage-XXXXXX";
	struct qb_store *other, *mine = store;
	struct item_source src = { .number = 77 };
	struct qb_store_info info;
	char *second = qb_xasprintf("%s/second", qb_test_dir);

	for (int i = 0; i < 2; i++) {
		const char *path = i == 0 || !mkdtemp(elsewhere) ? second : elsewhere;

		ck_assert_int_eq(qb_store_open(path, NULL, &other, &err), 0);
		ck_assert_int_eq(qb_store_put_chunked(store, "a", "x", 0, item_write, &src, &err), 0);
		set_time("a/x", 2000);
		ck_assert_msg(qb_store_move(store, "a", "x", other, "b", "y", &err) == 1, "%s", err.text);
		ck_assert_uint_eq(item_there(store, "a", "x"), 0);
		ck_assert_uint_eq(item_there(other, "b", "y"), 77);
		ck_assert_int_eq(qb_store_check(other, "b", "y", &info, &err), 1);
		ck_assert(info.chunked && info.complete);
		ck_assert_uint_eq(info.mtime_ns, 2000 * QB_NS_PER_S + 5);
		ck_assert_int_eq(qb_store_copy(other, "b", "y", mine, "", "back", &err), 1);
		ck_assert_uint_eq(item_there(mine, "", "back"), 77);
		ck_assert(!exists("a"));
		qb_store_close(other);
		qb_remove_tree(path);
	}
	free(second);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("storage");
	TCase *tc = tcase_create("files");
	SRunner *sr;
	int failed;

	tcase_add_unchecked_fixture(tc, qb_test_dir_make, qb_test_dir_remove);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, item_is_there_until_it_is_removed);
	tcase_add_test(tc, reader_keeps_its_item_over_a_put_and_a_removal);
	tcase_add_test(tc, larger_than_asked_for_is_refused);
	tcase_add_test(tc, name_that_leads_out_is_refused);
	tcase_add_test(tc, links_and_pipes_are_not_followed);
	tcase_add_test(tc, directory_and_item_do_not_share_a_name);
	tcase_add_test(tc, resolver_that_fails_leaves_the_old_item);
	tcase_add_test(tc, list_is_in_order_and_adds_up);
	tcase_add_test(tc, item_is_moved_and_copied);
	tcase_add_test(tc, item_moves_to_another_store);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
