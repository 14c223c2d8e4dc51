/* SPDX-License-Identifier: Apache-2.0 */
/* The shm queue's unique enqueue: several processes at once, each with a seat of its own; acknowledged to each of them. */
#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "queue/queue.h"
#include "queue/shm-unique.h"
#include "shm/hint.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

#define PRODUCERS 4u
#define KEYS 24u

static struct qb_seg seg;
static struct book {
	uint32_t go, done;
	uint32_t accepted[KEYS], refused[KEYS];
	uint32_t unacknowledged;
} *book;

static void create(uint32_t ack_mode)
{
	struct qb_config_shm cfg;

	qb_test_config(&cfg);
	cfg.ack_mode = ack_mode;
	qb_test_create(&seg, &cfg);
	book = mmap(NULL, sizeof(*book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(book, MAP_FAILED);
}

static void teardown(void)
{
	munmap(book, sizeof(*book));
	qb_seg_detach(&seg);
}

/* The published digests of "abc" and of nothing at all. */
START_TEST(a_key_is_the_head_of_its_sha256)
{
	struct qb_err err = { 0 };
	struct qb_key key;

	ck_assert_int_eq(qb_shm_key_of("abc", 3, &key, &err), 0);
	ck_assert_uint_eq(key.hi, 0xba7816bf8f01cfeaull);
	ck_assert_uint_eq(key.lo, 0x414140de5dae2223ull);
	ck_assert_int_eq(qb_shm_key_of("", 0, &key, &err), 0);
	ck_assert_uint_eq(key.hi, 0xe3b0c44298fc1c14ull);
	ck_assert_uint_eq(key.lo, 0x9afbf4c8996fb924ull);
}
END_TEST

static struct qb_queue *open_queue(void)
{
	int seat = qb_seat_take(&seg, QB_ROLE_TOOL);
	struct qb_queue_env env = { .seg = &seg, .seat = (uint32_t)seat, .role = QB_ROLE_DRIVER };
	struct qb_err err = { 0 };
	struct qb_queue *q;

	if (seat < 0 || qb_queue_shm.open(&env, &q, &err) < 0)
		abort();
	return q;
}

static void add(uint32_t *n)
{
	__atomic_fetch_add(n, 1, __ATOMIC_SEQ_CST);
}

/* Wants every key, in an order of its own; waits until what it has got is acknowledged. */
static void produce(unsigned me)
{
	struct qb_queue_ticket ticket[KEYS];
	struct qb_queue *q = open_queue();
	struct qb_err err = { 0 };

	while (!__atomic_load_n(&book->go, __ATOMIC_SEQ_CST))
		;
	for (unsigned i = 0; i < KEYS; i++) {
		unsigned k = (i + me * (me % 2)) % KEYS;
		char key[32];
		struct qb_submit what = qb_test_submit(1 + me * KEYS + k);

		snprintf(key, sizeof(key), "report of customer %u", k);
		switch (qb_queue_shm.enqueue_unique(q, &what, key, &ticket[k], &err)) {
		case QB_OK:
			add(&book->accepted[k]);
			break;
		case QB_DUPLICATE:
			add(&book->refused[k]);
			break;
		default:
			abort();
		}
	}
	uint64_t until = qb_now_ns() + 10 * QB_NS_PER_S;

	for (unsigned k = 0; k < KEYS; k++) {
		while (!qb_queue_shm.acknowledged(q, &ticket[k]) && qb_now_ns() < until)
			qb_sleep_ns(100000);
		if (!qb_queue_shm.acknowledged(q, &ticket[k]))
			add(&book->unacknowledged);
	}
	add(&book->done);
	_exit(0);
}

/* What the syncer does once a batch has committed. */
static void make_durable(void)
{
	for (uint32_t i = 0; i < seg.cfg.job_count; i++) {
		uint64_t w = qb_load_acquire64(&seg.jobs[i].word);

		if (qb_word_state(w) == QB_JOB_READY && qb_hint_clear(seg.dirty_map, i))
			qb_store_release64(&seg.jobs[i].sync, qb_sync(qb_word_gen(w), QB_SYNC_ACCEPTED, 0));
	}
}

static void run_producers(int is_durable)
{
	pid_t pid[PRODUCERS];

	for (unsigned i = 0; i < PRODUCERS; i++) {
		pid[i] = fork();
		ck_assert_int_ge(pid[i], 0);
		if (pid[i] == 0)
			produce(i);
	}
	__atomic_store_n(&book->go, 1, __ATOMIC_SEQ_CST);
	while (is_durable && __atomic_load_n(&book->done, __ATOMIC_SEQ_CST) < PRODUCERS) {
		make_durable();
		qb_sleep_ns(100000);
	}
	for (unsigned i = 0; i < PRODUCERS; i++) {
		int status;

		ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_uint_eq(book->unacknowledged, 0);
	for (unsigned k = 0; k < KEYS; k++) {
		ck_assert_uint_eq(book->accepted[k], 1);
		ck_assert_uint_eq(book->refused[k], PRODUCERS - 1);
	}
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL), KEYS);
	ck_assert_uint_eq(qb_count_sum(&seg, QB_COUNT_SUBMITTED), KEYS);
}

START_TEST(of_several_processes_one_has_it)
{
	create(QB_ACK_SHM);
	run_producers(0);
}
END_TEST

START_TEST(acknowledged_to_each_of_them)
{
	create(QB_ACK_DURABLE);
	run_producers(1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("unique");
	TCase *t = tcase_create("all");

	tcase_add_test(t, a_key_is_the_head_of_its_sha256);
	suite_add_tcase(s, t);
	t = tcase_create("processes");
	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, of_several_processes_one_has_it);
	tcase_add_test(t, acknowledged_to_each_of_them);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
