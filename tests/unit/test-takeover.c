/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A successor of the parent: whoever it finds is dead before anything of his is given away, also one that is
 * stopped, and that the kernel did not kill with its parent; and it finds a seat whatever its predecessors left.
 * The processes are real.
 */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "run/takeover.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

static struct qb_seg seg;
static struct qb_recovery recovery;
static struct qb_event_writer events;
static uint32_t own;

static void set_up(void)
{
	struct qb_config_shm cfg;

	qb_test_config(&cfg);
	cfg.seat_count = 12;
	qb_test_create(&seg, &cfg);
	ck_assert_int_eq(qb_recovery_open(&recovery, &seg), 0);
	own = 0;
}

static void tear_down(void)
{
	qb_recovery_close(&recovery);
	qb_seg_detach(&seg);
}

static void become_parent(void)
{
	int seat = qb_take_parent_seat(&recovery);

	ck_assert_int_gt(seat, 0);
	own = (uint32_t)seat;
	qb_seat_name(&seg, own, (uint32_t)getpid(), qb_proc_start_ticks(getpid()));
	qb_event_open(&events, &seg, own, QB_OVERFLOW_DROP);
}

/* Sits there, takes a job if it is a worker, and stops. No parent of its own: it dies of nothing but a kill. */
static pid_t stopped_child(uint32_t role, uint32_t *at)
{
	int seat = qb_seat_take(&seg, role);

	ck_assert_int_gt(seat, 0);
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&seg.seats[seat].word));
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct qb_held held;

		if (qb_seat_sit(&seg, (uint32_t)seat, incarnation, (uint32_t)getpid(), qb_proc_start_ticks(getpid())) < 0)
			_exit(1);
		if (role == QB_ROLE_WORKER &&
		    (qb_job_claim(&seg, (uint32_t)seat, &held) != QB_OK || qb_job_start(&seg, &held) < 0))
			_exit(2);
		raise(SIGSTOP);
		_exit(3);
	}
	int status;

	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert_msg(WIFSTOPPED(status), "the child ended with status %d", status);
	*at = (uint32_t)seat;
	return pid;
}

/* Dead already, not only about to die; one that is not is killed here, so that nothing is left. */
static void assert_dead(pid_t pid)
{
	siginfo_t si = { 0 };
	int status = 0;

	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT), 0);
	int was_dead = si.si_pid == pid;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	ck_assert_msg(was_dead, "process %d lives, and what it held was given away", (int)pid);
	ck_assert_int_eq(WTERMSIG(status), SIGKILL);
}

START_TEST(a_stopped_worker_is_dead_before_its_job_is_given_away)
{
	struct qb_submit what = qb_test_submit(1);
	struct qb_held job;
	struct qb_err err = { 0 };
	uint32_t seat;

	what.effect_class = QB_EFFECT_IDEMPOTENT;
	become_parent();
	ck_assert_int_eq(qb_job_submit(&seg, own, &what, &job), QB_OK);
	pid_t pid = stopped_child(QB_ROLE_WORKER, &seat);

	ck_assert_uint_eq(qb_word_state(qb_load_acquire64(&seg.jobs[job.slot_idx].word)), QB_JOB_STARTED);
	ck_assert_int_eq(qb_take_over(&recovery, &events, own, &err), 1);
	ck_assert_uint_eq(qb_word_state(qb_load_acquire64(&seg.jobs[job.slot_idx].word)), QB_JOB_READY);
	ck_assert_uint_eq(qb_seat_state_of(qb_load_acquire64(&seg.seats[seat].word)), QB_SEAT_FREE);
	assert_dead(pid);
}
END_TEST

START_TEST(an_old_syncer_is_dead_before_a_new_one_can_sit_there)
{
	struct qb_err err = { 0 };
	uint32_t seat;

	become_parent();
	pid_t pid = stopped_child(QB_ROLE_SYNCER, &seat);

	ck_assert_int_eq(qb_take_over(&recovery, &events, own, &err), 1);
	ck_assert_uint_eq(qb_seat_state_of(qb_load_acquire64(&seg.seats[seat].word)), QB_SEAT_FREE);
	assert_dead(pid);
}
END_TEST

START_TEST(an_old_parent_is_dead_before_its_successor_serves)
{
	struct qb_err err = { 0 };
	uint32_t seat;
	pid_t pid = stopped_child(QB_ROLE_PARENT, &seat);

	qb_store_relaxed32(&seg.hdr->parent_seat, seat);
	become_parent();
	ck_assert_int_eq(qb_take_over(&recovery, &events, own, &err), 1);
	assert_dead(pid);
}
END_TEST

/* In a storm: parents that were killed, one after the other, before they had freed anything. */
START_TEST(parents_that_died_in_recovery_leave_a_seat_for_the_next)
{
	pid_t pid[16];
	uint32_t seat, workers = 0, n = 0;

	ck_assert_int_gt(qb_seat_take(&seg, QB_ROLE_WORKER), 0);
	while (n + 2 < seg.cfg.seat_count)
		pid[n++] = stopped_child(QB_ROLE_PARENT, &seat);
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_PARENT), QB_ENOSEAT);
	become_parent();
	for (uint32_t i = 1; i < seg.cfg.seat_count; i++)
		workers += qb_seat_role(qb_load_acquire64(&seg.seats[i].word)) == QB_ROLE_WORKER;
	/* Those who may hold a job keep their seat until it is decided. */
	ck_assert_uint_eq(workers, 1);
	/* The one in whose seat it sits was not only taken for dead. */
	for (uint32_t i = 0, freed = 0; i < n; i++) {
		siginfo_t si = { 0 };

		waitid(P_PID, (id_t)pid[i], &si, WEXITED | WNOHANG | WNOWAIT);
		freed += si.si_pid == pid[i];
		ck_assert(i + 1 < n || freed == 1);
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("take-over");
	TCase *tc = tcase_create("take-over");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, a_stopped_worker_is_dead_before_its_job_is_given_away);
	tcase_add_test(tc, an_old_syncer_is_dead_before_a_new_one_can_sit_there);
	tcase_add_test(tc, an_old_parent_is_dead_before_its_successor_serves);
	tcase_add_test(tc, parents_that_died_in_recovery_leave_a_seat_for_the_next);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed != 0;
}
