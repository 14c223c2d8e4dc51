/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to stderr, one line and one write(2) per call ("qbench: warning: ...").
 * stdout is the result of a command and is never written here.
 */
#ifndef QB_BASE_LOG_H
#define QB_BASE_LOG_H

enum qb_log_level { QB_LOG_ERROR, QB_LOG_WARNING, QB_LOG_INFO, QB_LOG_DEBUG };

/* Messages above this level are dropped. Default QB_LOG_INFO; --quiet is QB_LOG_ERROR, -v is QB_LOG_DEBUG. */
void qb_log_set_level(enum qb_log_level level);
enum qb_log_level qb_log_get_level(void);

/* Name put before every message, "qbench" by default; a role sets its own ("qbench worker 3"). Copied. */
void qb_log_set_name(const char *name);

void qb_log(enum qb_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
