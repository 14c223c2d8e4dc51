/* SPDX-License-Identifier: Apache-2.0 */
#include "run/children.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/proc.h"
#include "shm/status.h"

#define LEAVE_NS (3 * QB_NS_PER_S)

int qb_child_watch(struct qb_child *c, pid_t pid, uint64_t start_ticks, const char *what, struct qb_err *err)
{
	*c = (struct qb_child){ .pid = pid, .pidfd = qb_pidfd_open(pid, start_ticks) };
	return c->pidfd < 0 ? qb_err_errno(err, -c->pidfd, "could not watch %s", what) : 0;
}

int qb_children_check(const struct qb_child *list, uint32_t n, const char *what, struct qb_err *err)
{
	for (uint32_t i = 0; i < n; i++)
		if (qb_pidfd_wait(list[i].pidfd, 0) != 0)
			return qb_err_set(err, QB_ECHILD, "%s %u has died; see the messages above", what, i + 1);
	return 0;
}

void qb_children_stop(struct qb_child *list, uint32_t n)
{
	uint64_t deadline = qb_now_ns() + LEAVE_NS;

	for (uint32_t i = 0; i < n; i++) {
		struct qb_child *one = &list[i];
		uint64_t now = qb_now_ns();

		if (one->pidfd >= 0 && qb_pidfd_wait(one->pidfd, now < deadline ? deadline - now : 0) != 1)
			qb_pidfd_signal(one->pidfd, SIGKILL);
		/* Collected by whoever comes first: the driver's care for orphans may. */
		while (waitpid(one->pid, NULL, 0) < 0 && errno == EINTR)
			;
		if (one->pidfd >= 0)
			close(one->pidfd);
	}
}
