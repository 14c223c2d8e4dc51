/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share; not for other rooms. */
#ifndef QB_PG_EXEC_H
#define QB_PG_EXEC_H

#include <stddef.h>
#include <stdint.h>

struct qb_strbuf;

/* libpq's text on one line, without the source location of verbose messages. */
void qb_pg_one_line(char *buf, size_t cap, const char *text);

/* Remember for qb_pg_sqlstate(); NULL or anything but five characters clears. */
void qb_pg_set_sqlstate(const char *sqlstate);

/* poll() one or two fds (-1: none) until a CLOCK_MONOTONIC instant: as poll(), or -errno. */
int qb_pg_poll(int fd, short events, int extra_fd, uint64_t deadline_ns, short revents[2]);

/* Append "keyword=value", quoted for libpq where it must be: others read the bare form better. */
void qb_pg_add_conninfo(struct qb_strbuf *sb, const char *keyword, const char *value);

#endif
