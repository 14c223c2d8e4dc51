/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of runs whose driver was killed: evidence, so they stay; but somebody should know. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/proc.h"
#include "run/run.h"
#include "shm/layout.h"

/* The head of a segment whose creator is gone. Reads with pread: the file is nobody's business but its own. */
static int is_left_over(const char *path)
{
	struct qb_header_shm h;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return 0;
	ssize_t n = qb_pread_full(fd, &h, sizeof(h), 0);

	close(fd);
	return n == (ssize_t)sizeof(h) && h.magic == QB_SEG_MAGIC &&
	       (h.boot_id != qb_boot_id() || qb_proc_start_ticks((pid_t)h.creator_pid) != h.creator_start_ticks);
}

unsigned qb_leftover_segments(const char *segment_dir, char *first, size_t cap)
{
	DIR *d = opendir(segment_dir);
	unsigned count = 0;
	struct dirent *de;

	if (!d)
		return 0;
	while ((de = readdir(d))) {
		char path[512];

		if (strncmp(de->d_name, "qbench-", 7) != 0 ||
		    snprintf(path, sizeof(path), "%s/%s/segment", segment_dir, de->d_name) >= (int)sizeof(path) ||
		    !is_left_over(path))
			continue;
		if (count++ == 0)
			snprintf(first, cap, "%s", path);
	}
	closedir(d);
	return count;
}
