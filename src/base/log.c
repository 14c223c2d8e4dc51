/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/visible.h"

static enum qb_log_level max_level = QB_LOG_INFO;
static char log_name[64] = "qbench";

void qb_log_set_level(enum qb_log_level level)
{
	max_level = level;
}

enum qb_log_level qb_log_get_level(void)
{
	return max_level;
}

void qb_log_set_name(const char *name)
{
	snprintf(log_name, sizeof(log_name), "%s", name);
}

static const char *level_text(enum qb_log_level level)
{
	switch (level) {
	case QB_LOG_ERROR: return "error";
	case QB_LOG_WARNING: return "warning";
	case QB_LOG_INFO: return "info";
	case QB_LOG_DEBUG: return "debug";
	}
	return "message";
}

void qb_log(enum qb_log_level level, const char *fmt, ...)
{
	/* No longer than PIPE_BUF: then one write is atomic on a pipe shared by many processes. */
	char line[4096];
	const size_t room = sizeof(line) - 1;   /* keeps a place for the newline */
	int saved_errno = errno;
	size_t start, used, i;
	va_list ap;

	if (level > max_level)
		return;
	snprintf(line, room, "%s: %s: ", log_name, level_text(level));
	start = strlen(line);
	va_start(ap, fmt);
	vsnprintf(line + start, room - start, fmt, ap);
	va_end(ap);

	used = strlen(line);
	while (used > start && (line[used - 1] == '\n' || line[used - 1] == ' '))
		used--;
	for (i = 0; i < used;) {
		size_t n = qb_visible_length(line + i, used - i);

		/* Texts of a server hold newlines; a hostile file name could hold an escape. */
		if (n == 0)
			line[i] = (unsigned char)line[i] < 0x80 ? ' ' : '?';
		i += n ? n : 1;
	}
	line[used++] = '\n';
	/* Nobody is left to be told when stderr itself is broken. */
	(void)qb_write_full(STDERR_FILENO, line, used);
	errno = saved_errno;
}
