/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file store: a child is killed at the nth hit of each fault point in each operation, then its sweep is, too; then
 * each name has the item before or the new one, whole, and after the next opening there is nothing else.
 * Then failing calls (storage-calls.c), and many who are killed at random (storage-stress.c).
 *
 * A point that no operation reaches is a failure. With --stress=KILLS and --seed=N: only that.
 */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "shm/fault.h"
#include "tests/crash/storage.h"
#include "tests/crash/tap.h"
#include "tests/lib/store-item.h"

#ifndef QB_FAULT_POINTS
#error "this program is compiled with -DQB_FAULT_POINTS, and so is its copy of the store"
#endif

#define HITS 3
#define POINTS_MAX 256
#define CHUNK 4096

int storage_ok(int good, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return tap_ok(good, "%s", text);
}

static char dirs[2][96];
const char *storage_root = dirs[0], *storage_other = dirs[1];

static int put_x(struct qb_store *s, struct qb_store *other, struct qb_err *err)
{
	struct item_source src = { .number = NEW, .step = 3000 };

	(void)other;
	return qb_store_put(s, "a/b", "x", item_write, &src, err);
}

static int put_x_chunked(struct qb_store *s, struct qb_store *other, struct qb_err *err)
{
	struct item_source src = { .number = NEW, .step = 3000 };

	(void)other;
	return qb_store_put_chunked(s, "a/b", "x", item_bytes(NEW), item_write, &src, err);
}

static int remove_x(struct qb_store *s, struct qb_store *other, struct qb_err *err)
{
	(void)other;
	return qb_store_remove(s, "a/b", "x", err) < 0 ? err->code : 0;
}

static int move_x(struct qb_store *s, struct qb_store *other, struct qb_err *err)
{
	return qb_store_move(s, "a/b", "x", other, "c", "y", err) < 0 ? err->code : 0;
}

static int copy_x(struct qb_store *s, struct qb_store *other, struct qb_err *err)
{
	return qb_store_copy(s, "a/b", "x", other, "c", "y", err) < 0 ? err->code : 0;
}

static int move_back(struct qb_store *s, struct qb_store *other, struct qb_err *err)
{
	return qb_store_move(other, "c", "y", s, "a/b", "x", err) < 0 ? err->code : 0;
}

#define PUT(how, what) \
	{ how " over nothing", what, 0, 1, 0, { NEW, NONE }, { NEW, NONE } }, \
	{ how " over an item", what, 0, 0, 0, { NEW, OLD_Y }, { NEW, OLD_Y } }, \
	{ "durable " how " over nothing", what, 1, 1, 0, { NEW, NONE }, { NEW, NONE } }, \
	{ "durable " how " over an item", what, 1, 0, 0, { NEW, OLD_Y }, { NEW, OLD_Y } }
#define BOTH(how, what, ...) \
	{ how, what, 0, __VA_ARGS__ }, \
	{ "durable " how, what, 1, __VA_ARGS__ }

const struct deed storage_deeds[] = {
	PUT("put", put_x),
	PUT("put in chunks", put_x_chunked),
	BOTH("remove", remove_x, 0, 0, { NONE, OLD_Y }, { NONE, OLD_Y }),
	BOTH("move", move_x, 0, 0, { NONE, OLD_X }, { NONE, OLD_X }),
	BOTH("move back", move_back, 0, 0, { OLD_Y, NONE }, { OLD_Y, NONE }),
	BOTH("copy", copy_x, 0, 0, { OLD_X, OLD_X }, { OLD_X, OLD_X }),
	BOTH("move elsewhere", move_x, 0, 1, { NONE, OLD_X }, { OLD_X, OLD_X }),
	BOTH("copy elsewhere", copy_x, 0, 1, { OLD_X, OLD_X }, { OLD_X, OLD_X }),
	{ NULL, NULL, 0, 0, 0, { 0, 0 }, { 0, 0 } },
};

static void must(int good, const char *what, const struct qb_err *err)
{
	if (good)
		return;
	printf("Bail out! %s: %s\n", what, err ? err->text : strerror(errno));
	exit(1);
}

static struct qb_store *open_store(const char *root, int durable)
{
	const struct qb_store_config cfg = { .durable = durable, .chunk_bytes = CHUNK };
	struct qb_err err = { 0 };
	struct qb_store *s = NULL;

	must(qb_store_open(root, &cfg, &s, &err) == 0, "could not open the store", &err);
	return s;
}

static void put_number(struct qb_store *s, const char *dir, const char *address, uint64_t number)
{
	uint8_t buf[ITEM_MAX];
	struct qb_err err = { 0 };
	size_t bytes = item_make(number, buf);

	must(qb_store_put_bytes(s, dir, address, buf, bytes, &err) == 0, "could not put", &err);
}

struct world storage_begin(const struct deed *d)
{
	qb_remove_tree(storage_root);
	qb_remove_tree(storage_other);
	struct world w = { .s = open_store(storage_root, d->durable) };

	w.other = d->across ? open_store(storage_other, d->durable) : w.s;
	if (!d->empty) {
		put_number(w.s, "a/b", "x", OLD_X);
		put_number(w.other, "c", "y", OLD_Y);
	}
	return w;
}

void storage_end(struct world *w)
{
	if (w->other != w->s)
		qb_store_close(w->other);
	qb_store_close(w->s);
}

struct pair storage_state(const struct world *w, const struct deed *d)
{
	(void)d;
	return (struct pair){ item_there(w->s, "a/b", "x"), item_there(w->other, "c", "y") };
}

int storage_is(struct pair a, struct pair b)
{
	return a.x == b.x && a.y == b.y;
}

struct pair storage_before(const struct deed *d)
{
	return d->empty ? (struct pair){ NONE, NONE } : (struct pair){ OLD_X, OLD_Y };
}

/* ---- nothing but items ---- */

static char found[256];
static unsigned walked, listed;
static const char *walk_root;

static int walk(const char *path, const struct stat *st, int type, struct FTW *at)
{
	const char *name = path + at->base;

	(void)st;
	if (type == FTW_F && strncmp(name, ".qb-", 4) != 0)
		walked++;
	/* Who can be removed was empty. */
	else if (type != FTW_DP || (at->level > 0 && rmdir(path) == 0))
		snprintf(found, sizeof(found), "%.200s", path + strlen(walk_root));
	return found[0] != 0;
}

static int list(void *ctx, const char *dir, const char *address, const struct qb_store_info *info)
{
	listed++;
	if (!info->complete || item_there(ctx, dir, address) == UINT64_MAX)
		snprintf(found, sizeof(found), "%.100s/%.100s is not whole", dir, address);
	return 0;
}

const char *storage_litter(const char *root)
{
	struct qb_err err = { 0 };
	struct qb_store *s;

	found[0] = 0;
	walked = listed = 0;
	walk_root = root;
	nftw(root, walk, 16, FTW_PHYS | FTW_DEPTH);
	if (found[0])
		return found;
	s = open_store(root, 0);
	if (qb_store_swept(s))
		snprintf(found, sizeof(found), "the walk saw no temporary, and one was swept");
	else if (qb_store_enumerate(s, list, s, &err) < 0)
		snprintf(found, sizeof(found), "%.250s", err.text);
	else if (walked != listed)
		snprintf(found, sizeof(found), "%u files, %u items in the list", walked, listed);
	qb_store_close(s);
	return found[0] ? found : NULL;
}

/* ---- kills ---- */

static unsigned sweep_kills[POINTS_MAX];

int storage_in_child(void (*what)(void *ctx), void *ctx)
{
	int status;

	fflush(stdout);
	pid_t pid = fork();

	if (pid < 0)
		return -1;
	if (pid == 0) {
		what(ctx);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

struct kill {
	const char *point;
	unsigned nth;
	const struct deed *deed;
	struct world w;
};

static void do_deed(void *ctx)
{
	struct kill *k = ctx;
	struct qb_err err = { 0 };

	qb_fault_arm(k->point, k->nth, QB_FAULT_KILL);
	if (k->deed->run(k->w.s, k->w.other, &err) < 0)
		_exit(1);
}

static void do_open(void *ctx)
{
	struct kill *k = ctx;

	qb_fault_arm(k->point, k->nth, QB_FAULT_KILL);
	qb_store_close(open_store(storage_root, 0));
	if (k->deed->across)
		qb_store_close(open_store(storage_other, 0));
}

/* NULL, or what is wrong with what a kill has left: with its temporaries, and after the next opening. */
static const char *judge(struct kill *k, int killed)
{
	const struct deed *d = k->deed;
	const char *why;

	for (int opened = 0; opened < 2; opened++) {
		struct pair is = storage_state(&k->w, d);

		if (!storage_is(is, d->then) &&
		    !(killed && (storage_is(is, storage_before(d)) || storage_is(is, d->between)))) {
			static char text[128];

			snprintf(text, sizeof(text), "the items are %llu and %llu%s", (unsigned long long)is.x, (unsigned long long)is.y,
				 opened ? " after the next opening" : "");
			return text;
		}
		qb_store_close(open_store(storage_root, 0));
		if (d->across)
			qb_store_close(open_store(storage_other, 0));
	}
	why = storage_litter(storage_root);
	return why || !d->across ? why : storage_litter(storage_other);
}

static int is_of_opening(const char *point)
{
	return strncmp(point, "store.sweep.", 12) == 0 || strncmp(point, "store.open.", 11) == 0;
}

/* Kills the sweep of what that kill leaves, at each of its points. */
static const char *kill_the_sweep(const struct kill *k, unsigned *kills)
{
	const char *point, *why;

	for (unsigned i = 0; i < POINTS_MAX && (point = qb_fault_name(i)) != NULL; i++) {
		for (unsigned nth = 1; nth <= 2 && is_of_opening(point); nth++) {
			struct kill again = *k, sweep = { .point = point, .nth = nth, .deed = k->deed };

			again.w = storage_begin(k->deed);
			if (storage_in_child(do_deed, &again) != 1)
				return "the kill did not happen again";
			int killed = storage_in_child(do_open, &sweep);

			*kills += killed == 1;
			sweep_kills[i] += killed == 1;
			why = killed < 0 ? "the next opening failed by itself" : judge(&again, 1);
			storage_end(&again.w);
			if (why)
				return why;
			if (!killed)
				break;
		}
	}
	return NULL;
}

/* How many times, over all deeds; a failure is reported. */
static unsigned kill_at(const char *point, unsigned *double_kills)
{
	unsigned kills = 0;

	for (const struct deed *d = storage_deeds; d->name; d++) {
		for (unsigned nth = 1; nth <= HITS; nth++) {
			struct kill k = { .point = point, .nth = nth, .deed = d, .w = storage_begin(d) };
			int killed = storage_in_child(do_deed, &k);
			const char *why = killed < 0 ? "the child failed by itself" : judge(&k, killed);

			storage_end(&k.w);
			if (!why && killed == 1)
				why = kill_the_sweep(&k, double_kills);
			if (why) {
				tap_ok(0, "%s, %s, hit %u: %s", point, d->name, nth, why);
				return 0;
			}
			kills += killed == 1;
			if (!killed)
				break;
		}
	}
	return kills;
}

static void kill_everywhere(unsigned *total, unsigned *total_double)
{
	unsigned kills = 0, double_kills = 0;
	const char *point;

	for (unsigned i = 0; (point = qb_fault_name(i)) != NULL; i++) {
		if (strncmp(point, "store.", 6) != 0 || is_of_opening(point))
			continue;
		int failed = tap_failed;
		unsigned n = kill_at(point, &double_kills);

		kills += n;
		if (tap_failed == failed)
			tap_ok(n > 0, "%s: killed %u times, old or new, no litter", point, n);
	}
	for (unsigned i = 0; i < POINTS_MAX && (point = qb_fault_name(i)) != NULL; i++)
		if (is_of_opening(point))
			tap_ok(sweep_kills[i] > 0, "%s: the opening after a kill killed %u times, and the next one finished", point,
			       sweep_kills[i]);
	*total = kills;
	*total_double = double_kills;
}

static void remove_all(void)
{
	qb_remove_tree(storage_root);
	qb_remove_tree(storage_other);
	for (unsigned i = 0; i < 2; i++) {
		*strrchr(dirs[i], '/') = 0;
		rmdir(dirs[i]);
	}
}

/* Two directories, on two file systems where there are two. */
static void make_dirs(void)
{
	const char *tmp = getenv("TMPDIR");
	struct stat a, b;

	snprintf(dirs[0], sizeof(dirs[0]), "%.60s/qb-store-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	snprintf(dirs[1], sizeof(dirs[1]), "/dev/shm/qb-store-XXXXXX");
	must(mkdtemp(dirs[0]) != NULL, "mkdtemp", NULL);
	if (!mkdtemp(dirs[1])) {
		snprintf(dirs[1], sizeof(dirs[1]), "%.60s/qb-store-XXXXXX", tmp && *tmp ? tmp : "/tmp");
		must(mkdtemp(dirs[1]) != NULL, "mkdtemp", NULL);
	}
	if (stat(dirs[0], &a) == 0 && stat(dirs[1], &b) == 0 && a.st_dev == b.st_dev)
		tap_note("there is one file system only: what goes from one to another is not tried");
	strcat(dirs[0], "/s");
	strcat(dirs[1], "/s");
}

int main(int argc, char **argv)
{
	unsigned kills = 300 * tap_factor(), only_stress = 0, point_kills = 0, double_kills = 0, call_faults = 0;
	uint64_t seed = 1;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--stress=", 9) == 0)
			only_stress = kills = (unsigned)strtoul(argv[i] + 9, NULL, 10);
		else if (strncmp(argv[i], "--seed=", 7) == 0)
			seed = strtoull(argv[i] + 7, NULL, 10);
	}
	make_dirs();
	atexit(remove_all);
	if (!only_stress) {
		kill_everywhere(&point_kills, &double_kills);
		call_faults = storage_failing_calls();
		storage_order_of_syncs();
		storage_full();
	}
	kills = storage_stress(seed, kills);
	tap_wrong = (unsigned)tap_failed;
	tap_figures("store_kills=%u store_double_kills=%u store_call_faults=%u store_random_kills=%u", point_kills, double_kills, call_faults,
		    kills);
	return tap_done();
}
