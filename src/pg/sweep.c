/* SPDX-License-Identifier: Apache-2.0 */
/* Ending what runs in a server's directory, and removing it: our own, and what dead owners left. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "pg/cluster.h"
#include "pg/owner.h"
#include "shm/status.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define QUIT_TIMEOUT_NS (7 * QB_NS_PER_S)       /* a postmaster gives its children 5 s */
#define KILL_TIMEOUT_NS (10 * QB_NS_PER_S)
#define STEP_NS (20 * QB_NS_PER_MS)
#define REMOVE_TRIES_MAX 5
/* A directory without owner file is being made right now, unless it is older. */
#define UNSIGNED_AGE_S 60

/* The two directories that the server's processes work in. */
struct place {
	struct stat dir;
	struct stat data;
	bool has_data;
};

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/*
 * A server program, run by the user of the directory, that works in it.  The shell of somebody who
 * looks around there is none.
 */
static bool works_in(pid_t pid, const struct place *place)
{
	char path[64], comm[32];
	struct stat st;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (stat(path, &st) || st.st_uid != place->dir.st_uid)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	if (stat(path, &st))
		return false;
	if (!is_same(&st, &place->dir) && !(place->has_data && is_same(&st, &place->data)))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = qb_pread_full(fd, comm, sizeof(comm) - 1, 0);
	close(fd);
	comm[n > 0 ? n : 0] = '\0';
	return !strcmp(comm, "postgres\n") || !strcmp(comm, "postmaster\n") ||
	       !strcmp(comm, "initdb\n");
}

/* Signal every process of that place (sig 0: only count): their number, or -errno. */
static int signal_all(const struct place *place, int sig)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	if (!proc)
		return -errno;
	while ((entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		int fd;

		if (!isdigit((unsigned char)entry->d_name[0]) || pid == getpid())
			continue;
		if (!works_in(pid, place))
			continue;
		/* Looked at again once the descriptor holds it: the pid may be another's by now. */
		fd = qb_pidfd_open(pid, qb_proc_start_ticks(pid));
		if (fd < 0)
			continue;
		if (qb_pidfd_wait(fd, 0) == 0 && works_in(pid, place)) {
			count++;
			if (sig)
				qb_pidfd_signal(fd, sig);
		}
		close(fd);
	}
	closedir(proc);
	return count;
}

/* 0 when nothing is left running there. */
static int end_processes(const struct place *place)
{
	uint64_t quit_until_ns = qb_now_ns() + QUIT_TIMEOUT_NS;
	uint64_t kill_until_ns = quit_until_ns + KILL_TIMEOUT_NS;
	bool told = false;

	for (;;) {
		uint64_t now_ns = qb_now_ns();
		/* SIGQUIT once: a postmaster then ends its children and removes its segment. */
		int sig = now_ns >= quit_until_ns ? SIGKILL : told ? 0 : SIGQUIT;
		int count = signal_all(place, sig);

		if (count <= 0)
			return count;
		if (sig == SIGQUIT)
			signal_all(place, SIGCONT);     /* a stopped one would not hear it */
		told = true;
		if (now_ns >= kill_until_ns)
			return QB_ETIMEOUT;
		qb_sleep_ns(STEP_NS);
	}
}

/*
 * The postmaster keeps a few bytes of System V shared memory as a lock on its data directory.
 * After a SIGKILL they stay in the kernel, and there are 4096 such segments in all.
 */
static void remove_segment(int dirfd, const struct place *place)
{
	unsigned long key, id;
	char text[1024], *line = text;
	struct shmid_ds ds;
	ssize_t n;
	int fd, i;

	fd = openat(dirfd, "data/postmaster.pid", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	n = qb_pread_full(fd, text, sizeof(text) - 1, 0);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (i = 1; i < 7 && line; i++) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	if (!line || sscanf(line, "%lu %lu", &key, &id) != 2)
		return;
	if (shmctl((int)id, IPC_STAT, &ds) || (unsigned long)ds.shm_perm.__key != key ||
	    ds.shm_perm.uid != place->dir.st_uid || ds.shm_nattch)
		return;
	shmctl((int)id, IPC_RMID, NULL);
}

int qb_pg_remove_dir(const char *dir)
{
	struct place place = { 0 };
	int dirfd, ret, tries;

	dirfd = open(dir, DIR_FLAGS);
	if (dirfd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(dirfd, &place.dir)) {
		ret = -errno;
		goto out;
	}
	place.has_data = !fstatat(dirfd, "data", &place.data, AT_SYMLINK_NOFOLLOW) &&
			 S_ISDIR(place.data.st_mode);
	for (tries = 0; tries < REMOVE_TRIES_MAX; tries++) {
		ret = end_processes(&place);
		if (ret < 0)
			break;
		remove_segment(dirfd, &place);
		ret = qb_remove_tree(dir);
		/* A process that came in between put a file there: ask again what runs. */
		if (ret != -ENOTEMPTY && ret != -EEXIST)
			break;
	}
	if (ret == -ENOENT)
		ret = 0;
out:
	close(dirfd);
	return ret;
}

/* Would we have made a directory with that owner? */
static bool is_our_uid(uid_t uid)
{
	static const char *const names[] = { "postgres", "nobody" };
	const struct passwd *pw;
	size_t i;

	if (uid == geteuid())
		return true;
	if (geteuid())
		return false;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		pw = getpwnam(names[i]);
		if (pw && pw->pw_uid == uid)
			return true;
	}
	return false;
}

/* Not signed: its maker died within its first instructions, so there is nothing in it. */
static int sweep_unsigned(int basefd, int dirfd, const char *name, const struct stat *st)
{
	if (st->st_mtime > time(NULL) - UNSIGNED_AGE_S)
		return 0;
	unlinkat(dirfd, QB_PG_OWNER_FILE ".tmp", 0);
	return !unlinkat(basefd, name, AT_REMOVEDIR);
}

/* 1 when it is gone now, else 0. */
static int sweep_one(const char *base, int basefd, const char *name)
{
	struct qb_pg_owner owner;
	struct stat st;
	int dirfd, ret, removed = 0;
	char *path;

	dirfd = openat(basefd, name, DIR_FLAGS);
	if (dirfd < 0)
		return 0;
	if (fstat(dirfd, &st) || !is_our_uid(st.st_uid))
		goto out;
	/* Two runs that start together: one of them does it. */
	if (flock(dirfd, LOCK_EX | LOCK_NB))
		goto out;
	path = qb_xasprintf("%s/%s", base, name);
	ret = qb_pg_owner_read(dirfd, &owner);
	if (ret == -ENOENT) {
		removed = sweep_unsigned(basefd, dirfd, name, &st);
	} else if (ret < 0) {
		qb_log(QB_LOG_WARNING, "cannot tell whose %s is (%s); remove it by hand", path,
		       qb_strerror(ret));
	} else if (qb_pg_owner_judge(&owner) == QB_PG_OWNER_DEAD) {
		ret = qb_pg_remove_dir(path);
		removed = !ret;
		if (ret)
			qb_log(QB_LOG_WARNING, "could not remove %s, left by process %d: %s", path,
			       (int)owner.pid, qb_strerror(ret));
		else
			qb_log(QB_LOG_DEBUG, "removed %s, left by process %d", path,
			       (int)owner.pid);
	}
	free(path);
out:
	close(dirfd);
	return removed;
}

static int sweep_base(const char *base, struct qb_err *err)
{
	int removed = 0, basefd;
	struct dirent *entry;
	DIR *dir = opendir(base);

	if (!dir)
		return qb_err_errno(err, errno, "could not look for left-over servers in %s", base);
	basefd = dirfd(dir);
	while ((entry = readdir(dir))) {
		if (!strncmp(entry->d_name, QB_PG_DIR_PREFIX, strlen(QB_PG_DIR_PREFIX)) &&
		    strlen(entry->d_name) == strlen(QB_PG_DIR_PREFIX) + 6)
			removed += sweep_one(base, basefd, entry->d_name);
	}
	closedir(dir);
	return removed;
}

int qb_cluster_sweep(const char *base_dir, struct qb_err *err)
{
	const char *tmpdir = getenv("TMPDIR");
	int removed = 0, ret;

	if (base_dir)
		return sweep_base(base_dir, err);
	/* Both, because a start that cannot use $TMPDIR falls back to /tmp. */
	if (tmpdir && *tmpdir) {
		ret = sweep_base(tmpdir, NULL);
		if (ret > 0)
			removed = ret;
	}
	ret = sweep_base("/tmp", err);
	return ret < 0 && removed ? removed : ret + removed;
}
