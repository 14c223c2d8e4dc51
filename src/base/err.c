/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "shm/status.h"

/* Cut at the end of text: a long tail is worth less than the context in front of it. */
static void append(char *text, size_t cap, const char *more)
{
	size_t used = strlen(text), bytes = strlen(more);

	if (bytes > cap - used - 1)
		bytes = cap - used - 1;
	memcpy(text + used, more, bytes);
	text[used + bytes] = '\0';
}

int qb_err_set(struct qb_err *err, int code, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list ap;

	if (!err)
		return code;
	/* By way of a copy, because an argument may be err->text itself. */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(err->text, text, sizeof(text));
	err->code = code;
	return code;
}

int qb_err_errno(struct qb_err *err, int errnum, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	const char *why = qb_strerror(-errnum);
	size_t room;
	va_list ap;

	if (!err)
		return -errnum;
	/* Room for the reason is set aside first: a long path must not push it out. */
	room = sizeof(text) - strlen(why) - 2;
	va_start(ap, fmt);
	vsnprintf(text, room, fmt, ap);
	va_end(ap);
	append(text, sizeof(text), ": ");
	append(text, sizeof(text), why);
	memcpy(err->text, text, sizeof(text));
	err->code = -errnum;
	return err->code;
}

int qb_err_context(struct qb_err *err, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list ap;

	if (!err)
		return QB_EUSAGE;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (err->text[0]) {
		append(text, sizeof(text), ": ");
		append(text, sizeof(text), err->text);
	}
	memcpy(err->text, text, sizeof(text));

	/* A caller that forgot to set the code is failing all the same: never report success. */
	if (!err->code)
		err->code = QB_EUSAGE;
	return err->code;
}

void qb_err_clear(struct qb_err *err)
{
	if (!err)
		return;
	err->code = 0;
	err->text[0] = '\0';
}
