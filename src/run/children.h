/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that the driver forks to ask a queue: watched by pidfd, never victims, ended in order or by force. */
#ifndef QB_RUN_CHILDREN_H
#define QB_RUN_CHILDREN_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct qb_child {
	pid_t pid;
	int pidfd;
};

/* Of a process just forked. 0, or negative with err ("could not watch WHAT"); stop it in any case. */
int qb_child_watch(struct qb_child *c, pid_t pid, uint64_t start_ticks, const char *what, struct qb_err *err);
/* 0, or QB_ECHILD with err when one has died. */
int qb_children_check(const struct qb_child *list, uint32_t n, const char *what, struct qb_err *err);
/* They have been told to leave; whoever takes too long is killed. All are collected. */
void qb_children_stop(struct qb_child *list, uint32_t n);

#endif
