/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error text that grows on its way up: set where the error arises, context put in front while
 * returning, printed once by the command line ("could not X: could not Y: why").
 */
#ifndef QB_BASE_ERR_H
#define QB_BASE_ERR_H

struct qb_err {
	int code;        /* 0, or the negative code that set() was given */
	char text[1024];
};

/* Replace the text. Returns code, so "return qb_err_set(err, QB_EPG, ...)" reads well. err may be NULL. */
int qb_err_set(struct qb_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like qb_err_set with code = -errnum and ": <strerror>" appended. errnum > 0. */
int qb_err_errno(struct qb_err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "context: " in front of the text that is there. Returns err->code (or QB_EUSAGE when err is NULL). */
int qb_err_context(struct qb_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void qb_err_clear(struct qb_err *err);

#endif
