/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file store and a system that says no: each call of each operation made to fail, one after the other; all of them
 * disturbed (signals, short writes); a limit on the size of a file; a full file system. The linker puts these functions
 * between the store and the C library (--wrap).
 *
 * And what no kill can show: in which order what was written is brought to disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "tests/crash/storage.h"
#include "tests/crash/tap.h"
#include "tests/lib/store-item.h"

static struct {
	unsigned nth, count;            /* the nth call fails; 0: none. count goes on */
	int errnum;
	const char *failed;             /* which it was */
	int disturbed;                  /* every other call that may is interrupted, and what is written is written in parts */
	int traced;
	struct { char what; int fd; } trace[256];
	unsigned traces;
} calls;

static int fails(const char *name)
{
	if (calls.nth == 0 || ++calls.count != calls.nth)
		return 0;
	calls.failed = name;
	errno = calls.errnum;
	return 1;
}

static int is_interrupted(void)
{
	static unsigned n;

	if (!calls.disturbed || n++ % 2)
		return 0;
	errno = EINTR;
	return 1;
}

static void note(char what, int fd)
{
	if (calls.traced && calls.traces < sizeof(calls.trace) / sizeof(calls.trace[0])) {
		calls.trace[calls.traces].what = what;
		calls.trace[calls.traces++].fd = fd;
	}
}

#define WRAP(type, name, ...) \
	type __real_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__)

int __real_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...)
{
	unsigned mode = 0;

	if (flags & O_CREAT) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, unsigned);
		va_end(ap);
	}
	return is_interrupted() || fails("openat") ? -1 : __real_openat(at, path, flags, mode);
}

int __real_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...)
{
	va_list ap;

	va_start(ap, what);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	return (what == F_OFD_SETLK && is_interrupted()) || fails("fcntl") ? -1 : __real_fcntl(fd, what, arg);
}

WRAP(int, mkdirat, int at, const char *path, mode_t mode)
{
	return fails("mkdirat") ? -1 : __real_mkdirat(at, path, mode);
}

WRAP(ssize_t, write, int fd, const void *data, size_t bytes)
{
	if (is_interrupted() || fails("write"))
		return -1;
	note('w', fd);
	return __real_write(fd, data, calls.disturbed && bytes > 100 ? 100 : bytes);
}

WRAP(int, fsync, int fd)
{
	if (is_interrupted() || fails("fsync"))
		return -1;
	note('s', fd);
	return __real_fsync(fd);
}

WRAP(int, renameat, int at, const char *from, int to_at, const char *to)
{
	if (fails("renameat"))
		return -1;
	note('r', to_at);
	return __real_renameat(at, from, to_at, to);
}

WRAP(int, unlinkat, int at, const char *path, int flags)
{
	if (fails("unlinkat"))
		return -1;
	note('u', at);
	return __real_unlinkat(at, path, flags);
}

WRAP(int, linkat, int at, const char *from, int to_at, const char *to, int flags)
{
	return fails("linkat") ? -1 : __real_linkat(at, from, to_at, to, flags);
}

WRAP(int, fchmod, int fd, mode_t mode)
{
	if (fails("fchmod"))
		return -1;
	note('m', fd);
	return __real_fchmod(fd, mode);
}

WRAP(int, futimens, int fd, const struct timespec times[2])
{
	return fails("futimens") ? -1 : __real_futimens(fd, times);
}

/* Closed all the same, as Linux does it. */
WRAP(int, close, int fd)
{
	int rc = __real_close(fd);

	return fails("close") ? -1 : rc;
}

static void quiet(void)
{
	calls.nth = 0;
	calls.disturbed = calls.traced = 0;
}

/* ---- one call after the other ---- */

/* NULL, or what is wrong after an operation that returned rc. */
static const char *judge(const struct deed *d, const struct world *w, int rc, const struct qb_err *err)
{
	struct pair is = storage_state(w, d);
	/* The new name is there and may not be on disk. */
	int after_all = strcmp(calls.failed, "fsync") == 0 && (storage_is(is, d->then) || storage_is(is, d->between));
	/* What could not be removed is the next opening's. */
	int left = strcmp(calls.failed, "unlinkat") == 0;
	const char *why;

	if (rc < 0 && err->text[0] == 0)
		return "it failed and did not say why";
	if (rc < 0 && !storage_is(is, storage_before(d)) && !after_all && !(left && storage_is(is, d->between)))
		return "it failed, and it is not as before";
	if (rc >= 0 && !storage_is(is, d->then))
		return "it was called done, and is not";
	for (int i = 0; left && i < 2; i++) {
		struct qb_store *s;

		if (qb_store_open(i ? storage_other : storage_root, NULL, &s, NULL) == 0)
			qb_store_close(s);
	}
	why = storage_litter(storage_root);
	return why || !d->across ? why : storage_litter(storage_other);
}

/* How many calls there are; 0 after a failure. */
static unsigned fail_each(const struct deed *d, int errnum)
{
	for (unsigned nth = 1;; nth++) {
		struct qb_err err = { 0 };
		struct world w = storage_begin(d);

		calls.failed = NULL;
		calls.errnum = errnum;
		calls.count = 0;
		calls.nth = nth;
		int rc = d->run(w.s, w.other, &err);

		quiet();
		const char *why = calls.failed ? judge(d, &w, rc, &err) : rc < 0 ? err.text : NULL;

		if (why)
			storage_ok(0, "%s, call %u (%s) fails with %s: %s", d->name, nth, calls.failed ? calls.failed : "none", strerror(errnum),
			       why);
		storage_end(&w);
		if (why)
			return 0;
		if (!calls.failed)
			return nth - 1;
	}
}

static int is_undisturbed(const struct deed *d)
{
	struct qb_err err = { 0 };
	struct world w = storage_begin(d);

	calls.disturbed = 1;
	int rc = d->run(w.s, w.other, &err);

	quiet();
	int good = rc >= 0 && storage_is(storage_state(&w, d), d->then) && !storage_litter(storage_root);

	storage_end(&w);
	if (!good)
		tap_note("%s: %s", d->name, err.text);
	return good;
}

unsigned storage_failing_calls(void)
{
	static const int errnums[] = { ENOSPC, EIO };
	unsigned total = 0;
	int good = 1;

	for (const struct deed *d = storage_deeds; d->name; d++) {
		unsigned n = 0;

		for (size_t i = 0; i < sizeof(errnums) / sizeof(errnums[0]); i++) {
			n = fail_each(d, errnums[i]);
			if (n == 0)
				break;
			total += n;
		}
		if (n > 0)
			storage_ok(n >= 4, "%s: each of its %u calls failed once, old or new, no litter", d->name, n);
		good &= is_undisturbed(d);
	}
	storage_ok(good, "signals and short writes change nothing");
	return total;
}

/* ---- the order ---- */

static const struct deed *deed(const char *name)
{
	const struct deed *d = storage_deeds;

	while (strcmp(d->name, name) != 0)
		d++;
	return d;
}

/* What the operation did, as letters; the file that was written is f, a directory d. */
static void trace_of(const char *name, char out[257])
{
	const struct deed *d = deed(name);
	struct qb_err err = { 0 };
	struct world w = storage_begin(d);
	unsigned n = 0;
	int file = -1;

	calls.traces = 0;
	calls.traced = 1;
	d->run(w.s, w.other, &err);
	quiet();
	for (unsigned i = 0; i < calls.traces; i++) {
		char what = calls.trace[i].what;

		if (what == 'w')
			file = calls.trace[i].fd;
		if (what == 'w' && n > 0 && out[n - 1] == 'w')
			continue;
		out[n++] = what == 's' ? (calls.trace[i].fd == file ? 'f' : 'd') : what;
	}
	out[n] = 0;
	storage_end(&w);
}

static void expect_trace(const char *name, const char *want, const char *why)
{
	char got[257];

	trace_of(name, got);
	if (!storage_ok(strcmp(got, want) == 0, "%s: %s", name, why))
		tap_note("calls are %s, not %s", got, want);
}

/* w write, m mode, f fsync of the file, r rename, d fsync of a directory, u unlink. The item is two directories deep. */
void storage_order_of_syncs(void)
{
	expect_trace("durable put over an item", "wfrddd", "the file is on disk before its name, all directories before it returns");
	expect_trace("durable put over nothing", "wfrddd", "the same for new directories");
	expect_trace("durable put in chunks over an item", "wmfruddd", "the same in chunks");
	expect_trace("put over an item", "wr", "nothing is synced when nobody asks for it");
	expect_trace("durable copy", "wfrdd", "the same for a copy");
	/* Which file it is shows only where it is written: the first d is the item. */
	expect_trace("durable move", "drddddduu", "the item, then the directory it comes to, then the one it leaves");
	expect_trace("durable remove", "uddduu", "the name is gone for good before it returns");
}

/* ---- no room ---- */

static int is_as_it_was(struct qb_store *s)
{
	return item_there(s, "a/b", "x") == OLD_X;
}

static int big(void *ctx, struct qb_store_sink *sink, struct qb_err *err)
{
	static const char block[65536];
	int rc = 0, *wrote = ctx;

	for (*wrote = 0; *wrote < 1000 && rc >= 0; ++*wrote)
		rc = sink->write(sink, block, sizeof(block), err);
	return rc;
}

/* Says that all is well although its writes were refused. */
static int careless(void *ctx, struct qb_store_sink *sink, struct qb_err *err)
{
	big(ctx, sink, err);
	return 0;
}

/* In a child: 0 good, else which check failed. */
static int try_without_room(int errnum)
{
	struct qb_store_config cfg = { 0 };
	struct item_source old = { .number = OLD_X };
	struct qb_err err = { 0 };
	struct qb_store *s;
	int n;

	for (cfg.durable = 0; cfg.durable < 2; cfg.durable++) {
		if (qb_store_open(storage_root, &cfg, &s, &err) < 0 || qb_store_put(s, "a/b", "x", item_write, &old, &err) < 0)
			return 1;
		if (qb_store_put(s, "a/b", "x", big, &n, &err) != -errnum || !is_as_it_was(s))
			return 2;
		if (qb_store_put(s, "a/b", "x", careless, &n, &err) != -errnum || !is_as_it_was(s))
			return 3;
		if (qb_store_put_chunked(s, "a/b", "x", 0, big, &n, &err) != -errnum || !is_as_it_was(s))
			return 4;
		if (qb_store_put_chunked(s, "n/m", "z", 0, big, &n, &err) != -errnum || item_there(s, "n/m", "z") != NONE)
			return 5;
		if (storage_litter(storage_root))
			return 6;
		/* There is room again. */
		if (qb_store_put(s, "n/m", "z", item_write, &old, &err) < 0 || qb_store_remove(s, "n/m", "z", &err) != 1)
			return 7;
		qb_store_close(s);
	}
	return 0;
}

static void limited(void *ctx)
{
	const struct rlimit limit = { 100000, 100000 };

	(void)ctx;
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		_exit(100);
	_exit(try_without_room(EFBIG));
}

#define NO_MOUNT 77

static int tell(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int good = fd >= 0 && qb_write_full(fd, text, strlen(text)) == 0;

	if (fd >= 0)
		close(fd);
	return good;
}

/* An ordinary user may mount where it is root of a user namespace, if that is allowed. */
static int is_root_of_its_own(void)
{
	char users[64], groups[64];

	snprintf(users, sizeof(users), "0 %u 1\n", (unsigned)geteuid());
	snprintf(groups, sizeof(groups), "0 %u 1\n", (unsigned)getegid());
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && tell("/proc/self/setgroups", "deny") &&
	       tell("/proc/self/uid_map", users) && tell("/proc/self/gid_map", groups);
}

/* No blocks, then no inodes. */
static void on_a_small_disk(void *ctx)
{
	struct item_source src = { .number = NEW };
	struct qb_err err = { 0 };
	struct qb_store *s;
	int rc = 0;

	(void)ctx;

	if (unshare(CLONE_NEWNS) != 0 && !is_root_of_its_own())
		_exit(NO_MOUNT);
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    (mkdir(storage_root, 0700) != 0 && errno != EEXIST) ||
	    mount("tmpfs", storage_root, "tmpfs", 0, "size=256k,nr_inodes=9,mode=700") != 0)
		_exit(NO_MOUNT);
	rc = try_without_room(ENOSPC);
	if (rc)
		_exit(rc);
	if (qb_store_open(storage_root, NULL, &s, &err) < 0)
		_exit(20);
	/* The root, a, b and x are there; three more directories, and the last inodes are used up by one more name. */
	if (qb_store_put(s, "1/2/3/4/5/6", "z", item_write, &src, &err) != -ENOSPC || !is_as_it_was(s))
		_exit(21);
	if (storage_litter(storage_root))
		_exit(22);
	for (int i = 0;; i++) {
		char name[16];

		snprintf(name, sizeof(name), "i%d", i);
		rc = qb_store_put(s, "", name, item_write, &src, &err);
		if (rc < 0)
			break;
	}
	if (rc != -ENOSPC || qb_store_put(s, "a/b", "x", item_write, &src, &err) != -ENOSPC || !is_as_it_was(s) ||
	    storage_litter(storage_root))
		_exit(23);
	if (qb_store_remove(s, "", "i0", &err) != 1 || qb_store_put(s, "a/b", "x", item_write, &src, &err) != 0 ||
	    item_there(s, "a/b", "x") != NEW)
		_exit(24);
	_exit(0);
}

static int status_of(void (*what)(void *), void *ctx)
{
	int status = -1;

	fflush(stdout);
	pid_t pid = fork();

	if (pid == 0)
		what(ctx);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status);
}

void storage_full(void)
{
	int rc;

	qb_remove_tree(storage_root);
	rc = status_of(limited, NULL);
	storage_ok(rc == 0, "files above their limit: old item, no litter (%d)", rc);
	qb_remove_tree(storage_root);
	rc = status_of(on_a_small_disk, NULL);
	if (rc == NO_MOUNT)
		storage_ok(1, "a full file system # SKIP nothing can be mounted here");
	else
		storage_ok(rc == 0, "a full file system, blocks and inodes: old item, no litter (%d)", rc);
}
