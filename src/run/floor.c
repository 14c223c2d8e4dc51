/* SPDX-License-Identifier: Apache-2.0 */
#include "run/floor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "shm/atomic.h"

#define SAMPLES_MAX 2048
/* Seldom enough to be no load. */
#define EVERY_NS (40 * QB_NS_PER_MS)
#define WAIT_NS (5 * QB_NS_PER_S)

/* One writer, the measuring process; read when it is dead. */
struct shared {
	qb_au64 deaths, births;
	uint64_t death_ns[SAMPLES_MAX], birth_ns[SAMPLES_MAX];
};

struct qb_floor {
	pid_t pid;
	struct shared *sh;
};

static void add(qb_au64 *count, uint64_t *samples, uint64_t ns)
{
	uint64_t n = qb_load_relaxed64(count);

	if (n == SAMPLES_MAX)
		return;
	samples[n] = ns;
	qb_store_relaxed64(count, n + 1);
}

static void measure_death(struct shared *sh, pid_t self)
{
	pid_t pid = fork();

	if (pid == 0) {
		qb_proc_die_with(self, SIGKILL);
		for (;;)
			pause();
	}
	int fd = pid > 0 ? qb_pidfd_open(pid, qb_proc_start_ticks(pid)) : -1;

	qb_sleep_ns(QB_NS_PER_MS);
	uint64_t t0 = qb_now_ns();

	if (fd >= 0 && qb_pidfd_signal(fd, SIGKILL) == 0 && qb_pidfd_wait(fd, WAIT_NS) == 1)
		add(&sh->deaths, sh->death_ns, qb_now_ns() - t0);
	if (fd >= 0)
		close(fd);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void measure_birth(struct shared *sh)
{
	static char name[] = "qbench", mode[] = QB_FLOOR_MODE;
	char *const argv[] = { name, mode, NULL };
	int ends[2];
	char byte;

	if (pipe(ends) < 0)
		return;
	uint64_t t0 = qb_now_ns();
	pid_t pid = fork();

	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		close_range(3, ~0u, 0);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	close(ends[1]);
	if (pid > 0 && read(ends[0], &byte, 1) == 1)
		add(&sh->births, sh->birth_ns, qb_now_ns() - t0);
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

int qb_floor_speak(void)
{
	return write(STDOUT_FILENO, "r", 1) == 1 ? 0 : 1;
}

static __attribute__((noreturn)) void floor_main(struct shared *sh, pid_t maker)
{
	sigset_t none;

	if (qb_proc_die_with(maker, SIGKILL) < 0)
		_exit(1);
	/* A Ctrl-C at the terminal is for the maker. */
	setpgid(0, 0);
	sigemptyset(&none);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	close_range(3, ~0u, 0);
	for (;;) {
		measure_death(sh, getpid());
		measure_birth(sh);
		qb_sleep_ns(EVERY_NS);
	}
}

int qb_floor_start(struct qb_floor **out, struct qb_err *err)
{
	struct qb_floor *f = qb_xcalloc(1, sizeof(*f));
	pid_t self = getpid();

	f->sh = mmap(NULL, sizeof(*f->sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f->sh == MAP_FAILED) {
		free(f);
		return qb_err_errno(err, errno, "could not measure the floor");
	}
	f->pid = fork();
	if (f->pid == 0)
		floor_main(f->sh, self);
	if (f->pid < 0) {
		int why = errno;

		munmap(f->sh, sizeof(*f->sh));
		free(f);
		return qb_err_errno(err, why, "could not measure the floor");
	}
	*out = f;
	return 0;
}

void qb_floor_stop(struct qb_floor *f, struct qb_samples *death, struct qb_samples *birth)
{
	if (!f)
		return;
	/* Our own child, not collected by anybody while it lives. */
	qb_proc_kill_confirm(f->pid, qb_proc_start_ticks(f->pid), WAIT_NS);
	waitpid(f->pid, NULL, WNOHANG);
	for (uint64_t i = 0; i < qb_load_relaxed64(&f->sh->deaths); i++)
		qb_samples_add(death, f->sh->death_ns[i]);
	for (uint64_t i = 0; i < qb_load_relaxed64(&f->sh->births); i++)
		qb_samples_add(birth, f->sh->birth_ns[i]);
	munmap(f->sh, sizeof(*f->sh));
	free(f);
}
