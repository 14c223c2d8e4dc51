/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes: identity that survives pid reuse, pidfds, confirmed death.
 *
 * A pid alone names nobody for long.  Identity here is {pid, start time in clock ticks}; a signal
 * is sent only through a pidfd whose identity was compared after it was opened.
 */
#ifndef QB_BASE_PROC_H
#define QB_BASE_PROC_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Field 22 of /proc/PID/stat (0 when there is no such process). */
uint64_t qb_proc_start_ticks(pid_t pid);

/* 64-bit hash of /proc/sys/kernel/random/boot_id; 0 if unreadable. */
uint64_t qb_boot_id(void);

/*
 * pidfd of exactly that process (start_ticks compared after opening).
 * Returns the fd (close-on-exec), -ESRCH when it is gone or the pid belongs to somebody else, or -errno.
 */
int qb_pidfd_open(pid_t pid, uint64_t start_ticks);
int qb_pidfd_signal(int pidfd, int sig);                /* 0, or -errno (-ESRCH: already dead) */

/* SIGKILL to a child of our own that has not been reaped: until then the number is nobody else's. 0 or -errno. */
int qb_child_kill(pid_t pid);

/*
 * SIGKILL to the whole process group that this child leads; refused (-ESRCH) when the child is not of that group or
 * was reaped, because then the number of the group may be somebody else's. 0 or -errno.
 */
int qb_child_kill_group(pid_t leader);

/* Is there any process in the group? Signals nobody. */
int qb_group_exists(pid_t group);
/* 1 dead (a zombie counts), 0 still alive when timeout_ns passed, or -errno. timeout_ns 0 polls. */
int qb_pidfd_wait(int pidfd, uint64_t timeout_ns);

/*
 * SIGKILL that process and wait for its death, at most timeout_ns.
 * 0 dead (or was gone already), QB_ETIMEOUT when it cannot be killed (D state).
 */
int qb_proc_kill_confirm(pid_t pid, uint64_t start_ticks, uint64_t timeout_ns);

/* prctl(PR_SET_PDEATHSIG, sig), then check that the parent still is `parent`: 0, or -ESRCH when it died first. */
int qb_proc_die_with(pid_t parent, int sig);

/* "SIGKILL" for 9, "signal 99" for unknown ones; static storage, not thread-safe. */
const char *qb_signal_name(int sig);

/* Number of cores this process may run on (affinity and cgroup quota), at least 1. */
unsigned qb_proc_cores(void);

#endif
