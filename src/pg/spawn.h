/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running the server's programs: as whom, how they die with us, and what they said.
 * Not for other rooms.
 */
#ifndef QB_PG_SPAWN_H
#define QB_PG_SPAWN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Whom the server runs as. Unless we are root that is ourselves, and nothing is switched. */
struct qb_pg_user {
	bool is_other;
	uid_t uid;
	gid_t gid;
	char name[64];
};

int qb_pg_find_user(struct qb_pg_user *user, struct qb_err *err);

struct qb_pg_program {
	const char *path;
	const char *const *argv;        /* NULL-terminated, with argv[0] */
	const char *dir;                /* working directory */
	int out_fd;                     /* becomes stdout and stderr */
	int death_signal;               /* sent when the calling thread ends */
	const struct qb_pg_user *user;
};

struct qb_pg_child {
	pid_t pid;              /* 0: none */
	int pidfd;
};

/*
 * Start in a session of its own (a Ctrl-C at the terminal is for us to handle), with a clean
 * environment and no descriptor but 0, 1, 2.  0 once the program runs, or negative with the reason.
 */
int qb_pg_spawn(const struct qb_pg_program *program, struct qb_pg_child *child, struct qb_err *err);

/* Collect a dead child: its wait status, or -1 when somebody else has collected it. */
int qb_pg_reap(struct qb_pg_child *child);

/*
 * Run to the end: the wait status, or QB_ETIMEOUT or QB_EINTR (killed then), or as qb_pg_spawn.
 */
int qb_pg_run(const struct qb_pg_program *program, uint64_t timeout_ns,
	      const volatile sig_atomic_t *interrupted, struct qb_err *err);

/* "exit status 1", "SIGKILL"; for a status of qb_pg_reap(). 32 bytes are enough; returns buf. */
const char *qb_pg_status_text(char *buf, size_t cap, int status);

/* The end of a file, not before from_off, its lines joined by " | "; "" if there is nothing. */
void qb_pg_tail(int fd, off_t from_off, char *buf, size_t cap);

/* What to do about a failure whose output is text: a clause ending in "; ", or "". */
void qb_pg_hint(char *buf, size_t cap, const char *text, const char *dir, const char *user_name);

#endif
