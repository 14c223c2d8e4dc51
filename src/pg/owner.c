/* SPDX-License-Identifier: Apache-2.0 */
#include "pg/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "shm/status.h"

#define FORMAT_VERSION 1

static void identify_self(struct qb_pg_owner *self)
{
	struct stat st;
	char *p;

	memset(self, 0, sizeof(*self));
	self->pid = getpid();
	self->start_ticks = qb_proc_start_ticks(self->pid);
	self->boot_id = qb_boot_id();
	if (!stat("/proc/self/ns/pid", &st))
		self->pid_ns = st.st_ino;
	if (gethostname(self->host, sizeof(self->host) - 1) || !self->host[0])
		strcpy(self->host, "-");
	for (p = self->host; *p; p++) {
		if (*p <= ' ')
			*p = '-';       /* it must stay one word */
	}
}

int qb_pg_owner_write(const char *dir, struct qb_err *err)
{
	struct qb_pg_owner self;
	char *path = qb_xasprintf("%s/%s", dir, QB_PG_OWNER_FILE);
	char *line;
	int ret;

	identify_self(&self);
	line = qb_xasprintf("qbench-pg-owner %d pid %d start_ticks %" PRIu64 " boot_id %" PRIx64
			    " pid_ns %" PRIu64 " host %s\n",
			    FORMAT_VERSION, (int)self.pid, self.start_ticks, self.boot_id,
			    self.pid_ns, self.host);
	ret = qb_replace_file(path, line, strlen(line), 0600, err);
	free(line);
	free(path);
	return ret;
}

int qb_pg_owner_read(int dirfd, struct qb_pg_owner *owner)
{
	struct qb_pg_owner o = { 0 };
	int version = 0, pid = 0, fields, fd;
	char line[512];
	struct stat st;
	ssize_t n;

	/* In a directory of somebody else's it may be a link or a pipe. */
	fd = openat(dirfd, QB_PG_OWNER_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = 0;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		n = qb_pread_full(fd, line, sizeof(line) - 1, 0);
	close(fd);
	if (n < 0)
		return (int)n;
	line[n] = '\0';
	fields = sscanf(line, "qbench-pg-owner %d pid %d start_ticks %" SCNu64 " boot_id %" SCNx64
			" pid_ns %" SCNu64 " host %64s", &version, &pid, &o.start_ticks, &o.boot_id,
			&o.pid_ns, o.host);
	if (fields != 6 || version != FORMAT_VERSION || pid <= 0 || !strchr(line, '\n'))
		return QB_ECORRUPT;
	o.pid = pid;
	*owner = o;
	return 0;
}

enum qb_pg_verdict qb_pg_owner_judge(const struct qb_pg_owner *owner)
{
	struct qb_pg_owner self;
	int fd, dead;

	identify_self(&self);
	if (strcmp(owner->host, self.host) || !owner->boot_id || !self.boot_id)
		return QB_PG_OWNER_UNKNOWN;
	if (owner->boot_id != self.boot_id)
		return QB_PG_OWNER_DEAD;
	if (owner->pid_ns != self.pid_ns)
		return QB_PG_OWNER_UNKNOWN;
	fd = qb_pidfd_open(owner->pid, owner->start_ticks);
	if (fd == -ESRCH)
		return QB_PG_OWNER_DEAD;
	if (fd < 0)
		return QB_PG_OWNER_UNKNOWN;
	dead = qb_pidfd_wait(fd, 0);
	close(fd);
	return dead < 0 ? QB_PG_OWNER_UNKNOWN : dead ? QB_PG_OWNER_DEAD : QB_PG_OWNER_ALIVE;
}
