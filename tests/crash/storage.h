/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file store under kills and failing calls: two names, what is done to them, and who judges what is left.
 *
 * Lives in: the test's process; the store in a directory of its own, made anew for each try.
 */
#ifndef QB_TESTS_CRASH_STORAGE_H
#define QB_TESTS_CRASH_STORAGE_H

#include "cache/storage.h"

/* Numbers of items (tests/lib/store-item.h): what was there under either name, and what is put. */
enum { NONE = 0, OLD_X = 11, OLD_Y = 22, NEW = 33 };

/* Under a/b/x and c/y. */
struct pair { uint64_t x, y; };

struct deed {
	const char *name;
	int (*run)(struct qb_store *s, struct qb_store *other, struct qb_err *err);
	int durable;
	int empty;              /* begins with nothing */
	int across;             /* y is in another store, on another file system if there is one */
	struct pair then;       /* when it is done; unless it begins with nothing: from x = OLD_X, y = OLD_Y */
	struct pair between;    /* may also be, when killed */
};

extern const struct deed storage_deeds[];       /* name NULL: the end */
extern const char *storage_root, *storage_other;

struct world { struct qb_store *s, *other; };

/* A store in that state, just opened. */
struct world storage_begin(const struct deed *d);
void storage_end(struct world *w);
struct pair storage_state(const struct world *w, const struct deed *d);
int storage_is(struct pair a, struct pair b);
struct pair storage_before(const struct deed *d);

/*
 * What a walk of its own finds in the directory that is no item: NULL for nothing, or a text. The list of the store has
 * to agree with it, and each item has to be whole.
 */
const char *storage_litter(const char *root);

/* What ran in a child: 1 killed, 0 came to its end, -1 failed by itself. */
int storage_in_child(void (*what)(void *ctx), void *ctx);

/* One case of the program's TAP. Returns good. */
int storage_ok(int good, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The other parts of the program. How many calls failed, how many were killed. */
unsigned storage_failing_calls(void);
void storage_order_of_syncs(void);
void storage_full(void);
unsigned storage_stress(uint64_t seed, unsigned kills);

#endif
