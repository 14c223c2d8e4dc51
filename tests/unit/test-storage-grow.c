/* SPDX-License-Identifier: Apache-2.0 */
/* Items in files: those that grow, temporaries of the living and the dead, many threads on one handle. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "cache/storage.h"
#include "shm/status.h"
#include "tests/lib/store-item.h"
#include "tests/lib/testdir.h"

#define CHUNK 100u
#define CHUNKS 3u
#define THREADS 4u
#define NAMES 3u

static char root[300];
static struct qb_store *store;
static struct qb_err err;

static struct qb_store *open_store(uint64_t chunk_wait_ns)
{
	const struct qb_store_config cfg = { .chunk_bytes = CHUNK, .chunk_wait_ns = chunk_wait_ns };
	struct qb_store *s = NULL;

	ck_assert_msg(qb_store_open(root, &cfg, &s, &err) == 0, "%s", err.text);
	return s;
}

static void set_up(void)
{
	qb_err_clear(&err);
	qb_test_dir_empty();
	snprintf(root, sizeof(root), "%s/s", qb_test_dir);
	store = open_store(60 * QB_NS_PER_S);
}

static void tear_down(void)
{
	qb_store_close(store);
}

static uint32_t swept_by_another_opening(void)
{
	struct qb_store *s = open_store(0);
	uint32_t n = qb_store_swept(s);

	qb_store_close(s);
	return n;
}

/* ---- a writer that does one chunk each time it is told to ---- */

struct writer {
	pthread_t thread;
	sem_t go, done;
	int fails;              /* after its last chunk */
	char letter;
	const char *address;
	int rc;
	struct qb_err err;
};

/* The chunk of that letter and number. */
static void fill(char letter, unsigned n, char buf[CHUNK])
{
	memset(buf, letter + (int)n, CHUNK);
}

static int write_when_told(void *ctx, struct qb_store_sink *sink, struct qb_err *e)
{
	struct writer *w = ctx;
	char buf[CHUNK];
	int rc = 0;

	for (unsigned n = 0; n < CHUNKS && rc == 0; n++) {
		sem_wait(&w->go);
		fill(w->letter, n, buf);
		/* In two parts: the chunk is seen when it is whole. */
		rc = sink->write(sink, buf, 30, e);
		if (rc == 0)
			rc = sink->write(sink, buf + 30, CHUNK - 30, e);
		sem_post(&w->done);
	}
	sem_wait(&w->go);
	return w->fails ? qb_err_set(e, -ECANCELED, "no more") : rc;
}

static void *run_writer(void *ctx)
{
	struct writer *w = ctx;

	w->rc = qb_store_put_chunked(store, "d", w->address, CHUNKS * CHUNK, write_when_told, w, &w->err);
	return NULL;
}

static void start(struct writer *w, char letter)
{
	w->letter = letter;
	w->address = "x";
	sem_init(&w->go, 0, 0);
	sem_init(&w->done, 0, 0);
	ck_assert_int_eq(pthread_create(&w->thread, NULL, run_writer, w), 0);
}

static void step(struct writer *w)
{
	sem_post(&w->go);
	sem_wait(&w->done);
}

static int finish(struct writer *w)
{
	sem_post(&w->go);
	pthread_join(w->thread, NULL);
	sem_destroy(&w->go);
	sem_destroy(&w->done);
	return w->rc;
}

static void expect_chunk(struct qb_store_reader *r, char letter, unsigned n)
{
	char buf[CHUNK], want[CHUNK];
	size_t used = 0;

	fill(letter, n, want);
	while (used < CHUNK) {
		ssize_t got = qb_store_read(r, buf + used, CHUNK - used, &err);

		ck_assert_msg(got > 0, "%d %s", (int)got, err.text);
		used += (size_t)got;
	}
	ck_assert_mem_eq(buf, want, CHUNK);
}

static void expect_item(char letter)
{
	struct qb_store_info info;
	struct qb_store_reader *r;
	char c;

	ck_assert_int_eq(qb_store_get(store, "d", "x", &r, &info, &err), 1);
	ck_assert(info.complete && info.chunked);
	for (unsigned n = 0; n < CHUNKS; n++)
		expect_chunk(r, letter, n);
	ck_assert_int_eq(qb_store_read(r, &c, 1, &err), 0);
	qb_store_reader_close(r);
}

static void *step_late(void *ctx)
{
	step(ctx);
	return NULL;
}

START_TEST(item_is_read_while_it_grows)
{
	struct writer w = { 0 };
	struct qb_store_reader *r;
	struct qb_store_info info;
	pthread_t thread;
	char c;

	start(&w, 'a');
	step(&w);
	ck_assert_int_eq(qb_store_get(store, "d", "x", &r, &info, &err), 1);
	ck_assert(info.chunked && !info.complete);
	ck_assert_uint_eq(info.bytes, CHUNK);
	expect_chunk(r, 'a', 0);
	/* The reader is at the end of what is there, or will be: it waits, and gets the next. */
	ck_assert_int_eq(pthread_create(&thread, NULL, step_late, &w), 0);
	expect_chunk(r, 'a', 1);
	pthread_join(thread, NULL);
	step(&w);
	expect_chunk(r, 'a', 2);
	ck_assert_int_eq(qb_store_check(store, "d", "x", &info, &err), 1);
	ck_assert(!info.complete);
	ck_assert_int_eq(finish(&w), 0);
	ck_assert_int_eq(qb_store_read(r, &c, 1, &err), 0);
	qb_store_reader_close(r);
	expect_item('a');
	ck_assert_uint_eq(swept_by_another_opening(), 0);
}
END_TEST

static int count_item(void *ctx, const char *d, const char *a, const struct qb_store_info *info)
{
	(void)d;
	(void)a;
	*(int *)ctx += info->complete ? 1 : 100;
	return 0;
}

static int listed(void)
{
	int n = 0;

	ck_assert_int_eq(qb_store_enumerate(store, count_item, &n, &err), 0);
	return n;
}

START_TEST(old_item_stays_until_the_new_one_is_complete)
{
	struct writer first = { 0 }, second = { 0 };

	start(&first, 'a');
	step(&first);
	ck_assert_int_eq(listed(), 100);
	step(&first);
	step(&first);
	ck_assert_int_eq(finish(&first), 0);
	start(&second, 'k');
	step(&second);
	expect_item('a');
	ck_assert_int_eq(listed(), 1);
	step(&second);
	step(&second);
	expect_item('a');
	ck_assert_int_eq(finish(&second), 0);
	expect_item('k');
	ck_assert_int_eq(listed(), 1);
}
END_TEST

START_TEST(last_to_be_complete_is_the_item)
{
	struct writer first = { 0 }, second = { 0 };
	struct qb_store_reader *r;

	start(&first, 'a');
	step(&first);
	start(&second, 'k');
	step(&second);
	step(&second);
	/* Who reads along reads the first. */
	ck_assert_int_eq(qb_store_get(store, "d", "x", &r, NULL, &err), 1);
	expect_chunk(r, 'a', 0);
	step(&second);
	ck_assert_int_eq(finish(&second), 0);
	expect_item('k');
	step(&first);
	step(&first);
	expect_item('k');
	ck_assert_int_eq(finish(&first), 0);
	expect_item('a');
	expect_chunk(r, 'a', 1);
	expect_chunk(r, 'a', 2);
	qb_store_reader_close(r);
	ck_assert_uint_eq(swept_by_another_opening(), 0);
}
END_TEST

START_TEST(one_that_grows_is_removed_and_comes_back_complete)
{
	struct writer w = { 0 };

	start(&w, 'a');
	step(&w);
	ck_assert_int_eq(qb_store_move(store, "d", "x", store, "e", "y", &err), QB_EBUSY);
	ck_assert_int_eq(qb_store_copy(store, "d", "x", store, "e", "y", &err), QB_EBUSY);
	ck_assert_int_eq(qb_store_remove(store, "d", "x", &err), 1);
	ck_assert_int_eq(qb_store_check(store, "d", "x", NULL, &err), 0);
	ck_assert_int_eq(qb_store_remove(store, "d", "x", &err), 0);
	step(&w);
	step(&w);
	ck_assert_int_eq(finish(&w), 0);
	expect_item('a');
}
END_TEST

START_TEST(reader_gives_up_when_the_chunk_does_not_come)
{
	struct qb_store *hasty = open_store(30 * QB_NS_PER_MS);
	struct writer w = { 0 };
	struct qb_store_reader *r;
	uint64_t before;
	char c;

	start(&w, 'a');
	step(&w);
	ck_assert_int_eq(qb_store_get(hasty, "d", "x", &r, NULL, &err), 1);
	expect_chunk(r, 'a', 0);
	before = qb_now_ns();
	ck_assert_int_eq(qb_store_read(r, &c, 1, &err), QB_ETIMEOUT);
	ck_assert_msg(strstr(err.text, "has not come in 30 ms") != NULL, "%s", err.text);
	ck_assert(qb_now_ns() - before >= 30 * QB_NS_PER_MS);
	/* It may try again. */
	step(&w);
	expect_chunk(r, 'a', 1);
	step(&w);
	ck_assert_int_eq(finish(&w), 0);
	expect_chunk(r, 'a', 2);
	ck_assert_int_eq(qb_store_read(r, &c, 1, &err), 0);
	qb_store_reader_close(r);
	qb_store_close(hasty);
}
END_TEST

START_TEST(reader_is_told_at_once_that_the_writer_gave_up)
{
	struct writer w = { .fails = 1 };
	struct qb_store_reader *r;
	char c;

	start(&w, 'a');
	for (unsigned n = 0; n < CHUNKS; n++)
		step(&w);
	ck_assert_int_eq(qb_store_get(store, "d", "x", &r, NULL, &err), 1);
	for (unsigned n = 0; n < CHUNKS; n++)
		expect_chunk(r, 'a', n);
	ck_assert_int_eq(finish(&w), -ECANCELED);
	ck_assert_str_eq(w.err.text, "no more");
	ck_assert_int_eq(qb_store_read(r, &c, 1, &err), -EPIPE);
	qb_store_reader_close(r);
	ck_assert_int_eq(qb_store_check(store, "d", "x", NULL, &err), 0);
	ck_assert_int_eq(listed(), 0);
}
END_TEST

/* ---- the living and the dead ---- */

static int pipes[2][2];

static int write_then_wait(void *ctx, struct qb_store_sink *sink, struct qb_err *e)
{
	char buf[CHUNK] = { 'z' }, c = 'r';
	int rc = sink->write(sink, buf, CHUNK, e);

	(void)ctx;
	if (rc == 0 && (write(pipes[0][1], &c, 1) != 1 || read(pipes[1][0], &c, 1) != 1))
		rc = -EPIPE;
	return rc;
}

/* A child in the middle of a put. */
static pid_t start_child(int chunked)
{
	ck_assert_int_eq(pipe(pipes[0]), 0);
	ck_assert_int_eq(pipe(pipes[1]), 0);
	pid_t pid = check_fork();

	if (pid == 0) {
		int rc = chunked ? qb_store_put_chunked(store, "n/m", "x", 0, write_then_wait, NULL, NULL) :
				   qb_store_put(store, "n/m", "x", write_then_wait, NULL, NULL);
		_exit(rc == 0 ? 0 : 1);
	}
	char c;

	ck_assert_int_eq(read(pipes[0][0], &c, 1), 1);
	return pid;
}

static void close_pipes(void)
{
	for (int i = 0; i < 4; i++)
		close(pipes[i / 2][i % 2]);
}

START_TEST(sweep_leaves_the_living)
{
	pid_t pid = start_child(_i);
	int status;

	ck_assert_uint_eq(swept_by_another_opening(), 0);
	ck_assert_int_eq(qb_store_check(store, "n/m", "x", NULL, &err), _i);
	ck_assert_int_eq(write(pipes[1][1], "g", 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_eq(qb_store_check(store, "n/m", "x", NULL, &err), 1);
	close_pipes();
}
END_TEST

START_TEST(sweep_takes_what_the_dead_left)
{
	pid_t pid = start_child(_i);
	struct qb_store_reader *r = NULL;
	char buf[2 * CHUNK];
	struct stat st;

	ck_assert_int_eq(qb_store_get(store, "n/m", "x", &r, NULL, &err), _i);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	/* Before the sweep, too, nobody takes it for an item. */
	ck_assert_int_eq(qb_store_check(store, "n/m", "x", NULL, &err), 0);
	ck_assert_int_eq(listed(), 0);
	if (r) {
		ck_assert_int_eq(qb_store_read(r, buf, sizeof(buf), &err), CHUNK);
		ck_assert_int_eq(qb_store_read(r, buf, sizeof(buf), &err), -EPIPE);
		qb_store_reader_close(r);
	}
	ck_assert_uint_eq(swept_by_another_opening(), 1 + (uint32_t)_i);
	char *path = qb_xasprintf("%s/n", root);

	ck_assert(stat(path, &st) != 0 && errno == ENOENT);
	free(path);
	close_pipes();
}
END_TEST

START_TEST(sweep_leaves_what_is_not_the_stores)
{
	static const char *const names[] = { ".qb-other", ".qb-put.pipe", ".qb-put.link", ".qb-put.dir", "plain" };
	char *path[5];
	struct stat st;

	for (int i = 0; i < 5; i++)
		path[i] = qb_xasprintf("%s/%s", root, names[i]);
	ck_assert_int_eq(qb_replace_file(path[0], "x", 1, 0600, &err), 0);
	ck_assert_int_eq(qb_replace_file(path[4], "x", 1, 0600, &err), 0);
	ck_assert_int_eq(mkfifo(path[1], 0600), 0);
	ck_assert_int_eq(symlink(path[4], path[2]), 0);
	ck_assert_int_eq(mkdir(path[3], 0700), 0);
	ck_assert_uint_eq(swept_by_another_opening(), 0);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(lstat(path[i], &st), 0);
		free(path[i]);
	}
}
END_TEST

/* ---- many threads ---- */

struct crowd {
	pthread_t thread;
	uint64_t seed;
	unsigned torn, failed, found;
};

static void *mingle(void *ctx)
{
	struct crowd *me = ctx;
	struct qb_rng rng;

	qb_rng_init(&rng, me->seed, "crowd");
	for (unsigned i = 0; i < 300; i++) {
		char address[4] = { (char)('a' + (int)qb_rng_below(&rng, NAMES)), 0 };
		struct item_source src = { .number = qb_rng_next(&rng) | 1, .step = 1000 };
		uint64_t what = qb_rng_below(&rng, 8), there = item_there(store, "t/u", address);
		struct qb_store *s = NULL;
		int rc = 0;

		/* A growing one whose writer has ended badly would be torn, but none does. */
		me->torn += there == UINT64_MAX;
		me->found += there != 0;
		if (what < 4)
			rc = qb_store_put(store, "t/u", address, item_write, &src, NULL);
		else if (what == 4)
			rc = qb_store_put_chunked(store, "t/u", address, 0, item_write, &src, NULL);
		else if (what == 5)
			rc = qb_store_remove(store, "t/u", address, NULL);
		else if (what == 6)
			rc = qb_store_move(store, "t/u", address, store, "t", "z", NULL);
		else if ((rc = qb_store_open(root, NULL, &s, NULL)) == 0)
			qb_store_close(s);
		me->failed += rc < 0 && rc != QB_EBUSY;
	}
	return NULL;
}

START_TEST(threads_share_a_handle)
{
	struct crowd crowd[THREADS] = { 0 };
	unsigned found = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		crowd[i].seed = i;
		ck_assert_int_eq(pthread_create(&crowd[i].thread, NULL, mingle, &crowd[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(crowd[i].thread, NULL);
		ck_assert_uint_eq(crowd[i].torn, 0);
		ck_assert_uint_eq(crowd[i].failed, 0);
		found += crowd[i].found;
	}
	ck_assert_uint_gt(found, 0);
	ck_assert_uint_eq(swept_by_another_opening(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("storage-grow");
	TCase *tc = tcase_create("grow");
	SRunner *sr;
	int failed;

	tcase_add_unchecked_fixture(tc, qb_test_dir_make, qb_test_dir_remove);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, item_is_read_while_it_grows);
	tcase_add_test(tc, old_item_stays_until_the_new_one_is_complete);
	tcase_add_test(tc, last_to_be_complete_is_the_item);
	tcase_add_test(tc, one_that_grows_is_removed_and_comes_back_complete);
	tcase_add_test(tc, reader_gives_up_when_the_chunk_does_not_come);
	tcase_add_test(tc, reader_is_told_at_once_that_the_writer_gave_up);
	tcase_add_loop_test(tc, sweep_leaves_the_living, 0, 2);
	tcase_add_loop_test(tc, sweep_takes_what_the_dead_left, 0, 2);
	tcase_add_test(tc, sweep_leaves_what_is_not_the_stores);
	tcase_add_test(tc, threads_share_a_handle);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
