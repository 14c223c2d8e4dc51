/* SPDX-License-Identifier: Apache-2.0 */
/* What holds workers back and lets producers fire at once: with real processes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/gate.h"

#define PROCESSES 4
#define ROUNDS 20

static const struct qb_keyset set = { .keys = 5, .processes = PROCESSES };
static char dir[] = "/tmp/qb-gate-XXXXXX", path[64];
static struct qb_gate gate;
static struct qb_err err;

static void setup(void)
{
	strcpy(dir + sizeof(dir) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/gate", dir);
	ck_assert_msg(qb_gate_create(&gate, path, &set, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	qb_gate_close(&gate);
	unlink(path);
	rmdir(dir);
	unsetenv(QB_GATE_ENV);
}

START_TEST(a_job_is_held_until_its_key_may_end)
{
	uint64_t race = qb_keyset_id(&set, QB_KEY_RACE, 2, 1), queued = qb_keyset_id(&set, QB_KEY_QUEUED, 2, 0);
	uint64_t done = qb_keyset_id(&set, QB_KEY_DONE, 2, 0), holder = qb_keyset_id(&set, QB_KEY_HOLDER, 2, 0);
	uint64_t killed = qb_keyset_id(&set, QB_KEY_KILLED, 2, 3);

	ck_assert(qb_gate_holds(&gate, race) && qb_gate_holds(&gate, queued) && qb_gate_holds(&gate, done));
	qb_gate_let_end(&gate, QB_KEY_RUNNING, 2);
	ck_assert(!qb_gate_holds(&gate, race) && !qb_gate_holds(&gate, queued));
	ck_assert(!qb_gate_holds(&gate, qb_keyset_id(&set, QB_KEY_RUNNING, 2, 3)));
	/* What comes later waits for its own phase, other keys for their turn. */
	ck_assert(qb_gate_holds(&gate, done));
	ck_assert(qb_gate_holds(&gate, qb_keyset_id(&set, QB_KEY_RACE, 3, 1)));
	qb_gate_let_end(&gate, QB_KEY_DONE, 2);
	ck_assert(!qb_gate_holds(&gate, done));
	/* The last phase has other keys. */
	ck_assert(qb_gate_holds(&gate, holder) && qb_gate_holds(&gate, killed));
	qb_gate_let_end(&gate, QB_KEY_KILLED, 2);
	ck_assert(!qb_gate_holds(&gate, holder) && !qb_gate_holds(&gate, killed));
	/* Of no such set. */
	ck_assert(!qb_gate_holds(&gate, 0) && !qb_gate_holds(&gate, qb_keyset_jobs(&set) + 1));
}
END_TEST

START_TEST(a_worker_finds_it_by_the_environment)
{
	struct qb_gate mine;

	ck_assert_int_eq(qb_gate_attach(&mine), 0);
	ck_assert_ptr_null(mine.shm);
	/* Without one nobody is held back. */
	ck_assert(!qb_gate_holds(&mine, 1) && qb_gate_is_open(&mine, 0));
	setenv(QB_GATE_ENV, path, 1);
	ck_assert_int_eq(qb_gate_attach(&mine), 0);
	ck_assert_uint_eq(mine.set.processes, PROCESSES);
	ck_assert(qb_gate_holds(&mine, 1) && !qb_gate_is_open(&mine, QB_NS_PER_MS));
	qb_gate_open_queue(&gate);
	ck_assert(qb_gate_is_open(&mine, 0));
	qb_gate_close(&mine);
	ck_assert_int_eq(truncate(path, 100), 0);
	ck_assert_int_lt(qb_gate_attach(&mine), 0);
	setenv(QB_GATE_ENV, "/nowhere/gate", 1);
	ck_assert_int_lt(qb_gate_attach(&mine), 0);
}
END_TEST

struct fired { uint64_t ns[ROUNDS][PROCESSES]; };

/* The last that arrives is late by far: the others must not fire before it is there. */
static void produce(struct fired *f, unsigned who)
{
	struct qb_gate_round r = { 0 };

	qb_gate_report(&gate, 1);
	while (qb_gate_next_round(&gate, r.number, &r)) {
		if (r.number % PROCESSES == who)
			qb_sleep_ns(3 * QB_NS_PER_MS);
		qb_gate_meet(&gate, &r);
		f->ns[r.number - 1][who] = qb_now_ns();
		qb_gate_answer(&gate);
	}
	_exit(r.key == ROUNDS - 1 && r.phase == QB_KEY_QUEUED ? 0 : 1);
}

START_TEST(nobody_fires_before_the_last_has_arrived)
{
	struct fired *f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[PROCESSES];

	ck_assert_ptr_ne(f, MAP_FAILED);
	for (unsigned i = 0; i < PROCESSES; i++)
		if ((pid[i] = fork()) == 0)
			produce(f, i);
	while (qb_gate_ready(&gate) < PROCESSES)
		qb_sleep_ns(QB_NS_PER_MS);
	for (uint32_t n = 1; n <= ROUNDS; n++) {
		struct qb_gate_round r = { .number = n, .phase = QB_KEY_QUEUED, .key = n - 1 };
		uint64_t before = qb_now_ns();

		qb_gate_start_round(&gate, &r);
		while (qb_gate_answered(&gate) < PROCESSES)
			qb_sleep_ns(QB_NS_PER_MS / 10);
		for (unsigned i = 0; i < PROCESSES; i++)
			ck_assert_uint_gt(f->ns[n - 1][i], before + 3 * QB_NS_PER_MS);
	}
	qb_gate_end_rounds(&gate);
	for (unsigned i = 0; i < PROCESSES; i++) {
		int status = -1;

		ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
		ck_assert_int_eq(status, 0);
	}
	munmap(f, sizeof(*f));
}
END_TEST

START_TEST(one_that_cannot_be_ready_is_told)
{
	qb_gate_report(&gate, 1);
	ck_assert_int_eq(qb_gate_ready(&gate), 1);
	qb_gate_report(&gate, 0);
	ck_assert_int_eq(qb_gate_ready(&gate), -1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gate");
	TCase *tc = tcase_create("gate");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_job_is_held_until_its_key_may_end);
	tcase_add_test(tc, a_worker_finds_it_by_the_environment);
	tcase_add_test(tc, nobody_fires_before_the_last_has_arrived);
	tcase_add_test(tc, one_that_cannot_be_ready_is_told);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
