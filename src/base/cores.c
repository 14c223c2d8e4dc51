/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cores.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fdio.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "shm/status.h"

#define FILE_MAX_BYTES (1u << 20)

static char *read_text(const char *root, const char *path)
{
	char *full = qb_xasprintf("%s%s", root, path);
	char *data = NULL;
	size_t bytes;

	if (qb_read_file(full, FILE_MAX_BYTES, &data, &bytes, NULL))
		data = NULL;
	free(full);
	return data;
}

/* The path behind "0::" in /proc/self/cgroup: the only line of version 2. malloc'ed, or NULL. */
static char *own_group(const char *root)
{
	char *text = read_text(root, "/proc/self/cgroup");
	char *line, *save = NULL, *group = NULL;

	if (!text)
		return NULL;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!strncmp(line, "0::/", 4)) {
			group = qb_xstrdup(line + 3);
			break;
		}
	}
	free(text);
	return group;
}

/* Where the version 2 tree is mounted, and which group lies at that point. 0, or QB_EPARSE. */
static int find_mount(const char *root, char **point, char **top)
{
	char *text = read_text(root, "/proc/self/mountinfo");
	char *line, *save = NULL;
	int ret = QB_EPARSE;

	if (!text)
		return QB_EPARSE;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *field, *inner = NULL, *mount_root = NULL, *mount_point = NULL;
		unsigned i = 0;

		if (!strstr(line, " - cgroup2 "))
			continue;
		/* "id parent major:minor root mount-point options ..." */
		for (field = strtok_r(line, " ", &inner); field && i < 5;
		     field = strtok_r(NULL, " ", &inner), i++) {
			if (i == 3)
				mount_root = field;
			if (i == 4)
				mount_point = field;
		}
		if (!mount_point)
			continue;
		*top = qb_xstrdup(mount_root);
		*point = qb_xstrdup(mount_point);
		ret = 0;
		break;
	}
	free(text);
	return ret;
}

/* "200000 100000" is two cores, "max 100000" is no limit (0). */
static unsigned quota_cores(const char *root, const char *dir)
{
	char *path = qb_xasprintf("%s/cpu.max", dir);
	char *text = read_text(root, path);
	char *save = NULL, *quota, *period;
	uint64_t quota_us, period_us, cores = 0;

	free(path);
	if (!text)
		return 0;
	quota = strtok_r(text, " \n", &save);
	period = strtok_r(NULL, " \n", &save);
	if (quota && period && !qb_parse_u64(quota, &quota_us) &&
	    !qb_parse_u64(period, &period_us) && quota_us && period_us)
		cores = quota_us / period_us + (quota_us % period_us != 0);
	free(text);
	return cores > UINT32_MAX ? 0 : (unsigned)cores;
}

unsigned qb_cgroup_cores(const char *root)
{
	char *group = own_group(root), *point = NULL, *top = NULL, *dir, *slash;
	unsigned least = 0, cores;
	size_t stop;

	if (!group || find_mount(root, &point, &top)) {
		free(group);
		return 0;
	}
	/* A tree that is mounted from below its root shows our group's path without that prefix. */
	stop = strlen(top);
	if (strcmp(top, "/") && !strncmp(group, top, stop) && (group[stop] == '/' || !group[stop]))
		dir = qb_xasprintf("%s%s", point, group + stop);
	else
		dir = qb_xasprintf("%s%s", point, group);

	/* A group is bound by every group above it: take the least on the way up. */
	stop = strlen(point);
	for (;;) {
		cores = quota_cores(root, dir);
		if (cores && (!least || cores < least))
			least = cores;
		slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < stop)
			break;
		*slash = '\0';
	}
	free(dir);
	free(top);
	free(point);
	free(group);
	return least;
}
