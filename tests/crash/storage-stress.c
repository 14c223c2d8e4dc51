/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several processes that put, move, copy and remove under the same few names, each SIGKILLed at random and replaced; each opens the
 * store anew now and then, which sweeps while the others write. Readers take whatever they find and look whether it is whole.
 * At the end everybody is killed, and one opening leaves nothing but items.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/rng.h"
#include "shm/status.h"
#include "tests/crash/storage.h"
#include "tests/crash/tap.h"
#include "tests/lib/store-item.h"

#define WRITERS 4u
#define READERS 2u
#define PROCESSES (WRITERS + READERS)
#define NAMES 5u

static const char *const names[NAMES][2] = { { "", "p" }, { "", "q" }, { "d", "p" }, { "d/e", "p" }, { "d/e", "q" } };

/* Shared; the counts are of whole steps, a kill loses one at most. */
static struct {
	uint64_t done, read, swept, grew, broken;
	char why[200];
} *book;

static void complain(const char *what, const struct qb_err *err)
{
	if (__atomic_fetch_add(&book->broken, 1, __ATOMIC_SEQ_CST) == 0)
		snprintf(book->why, sizeof(book->why), "%s: %.150s", what, err->text);
}

static void count(uint64_t *what, uint64_t by)
{
	__atomic_fetch_add(what, by, __ATOMIC_RELAXED);
}

static struct qb_store *open_here(int durable)
{
	const struct qb_store_config cfg = { .durable = durable, .chunk_bytes = 2048 };
	struct qb_err err = { 0 };
	struct qb_store *s;

	if (qb_store_open(storage_root, &cfg, &s, &err) < 0) {
		complain("open", &err);
		_exit(1);
	}
	count(&book->swept, qb_store_swept(s));
	return s;
}

static void write_something(struct qb_store *s, struct qb_rng *rng)
{
	struct item_source src = { .number = qb_rng_next(rng) | 1, .step = 1 + qb_rng_below(rng, 5000) };
	const char *const *from = names[qb_rng_below(rng, NAMES)], *const *to = names[qb_rng_below(rng, NAMES)];
	struct qb_err err = { 0 };
	uint64_t what = qb_rng_below(rng, 10);
	int rc;

	if (what < 4)
		rc = qb_store_put(s, to[0], to[1], item_write, &src, &err);
	else if (what < 6)
		rc = qb_store_put_chunked(s, to[0], to[1], 0, item_write, &src, &err);
	else if (what == 6)
		rc = qb_store_copy(s, from[0], from[1], s, to[0], to[1], &err);
	else if (what == 7)
		rc = qb_store_move(s, from[0], from[1], s, to[0], to[1], &err);
	else
		rc = qb_store_remove(s, to[0], to[1], &err);
	if (rc < 0 && rc != QB_EBUSY)
		complain("write", &err);
	count(&book->done, 1);
}

static void writer(uint64_t seed)
{
	struct qb_store *s = NULL;
	struct qb_rng rng;

	qb_rng_init(&rng, seed, "store-writer");
	for (;;) {
		if (s && qb_rng_below(&rng, 20) == 0) {
			qb_store_close(s);
			s = NULL;
		}
		if (!s)
			s = open_here(qb_rng_below(&rng, 8) == 0);
		write_something(s, &rng);
	}
}

static void reader(uint64_t seed)
{
	struct qb_store *s = open_here(0);
	struct qb_rng rng;

	qb_rng_init(&rng, seed, "store-reader");
	for (;;) {
		const char *const *name = names[qb_rng_below(&rng, NAMES)];
		struct qb_store_reader *r = NULL;
		struct qb_store_info info;
		struct qb_err err = { 0 };
		uint8_t buf[ITEM_MAX + 1];
		size_t bytes = 0;
		int rc = qb_store_get(s, name[0], name[1], &r, &info, &err);
		ssize_t n = 0;

		if (rc < 0)
			complain("get", &err);
		if (rc <= 0)
			continue;
		while (bytes < sizeof(buf) && (n = qb_store_read(r, buf + bytes, sizeof(buf) - bytes, &err)) > 0)
			bytes += (size_t)n;
		qb_store_reader_close(r);
		/* One that grew under our eyes may lose its writer, and no other may. */
		if (n < 0 && (info.complete || n != -EPIPE))
			complain("read", &err);
		else if (n == 0 && item_number(buf, bytes) == 0)
			complain("an item is torn", &err);
		count(info.complete ? &book->read : &book->grew, 1);
	}
}

static pid_t spawn(unsigned which, uint64_t seed)
{
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	if (which < WRITERS)
		writer(seed);
	else
		reader(seed);
	_exit(0);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Lets the others do at least so much, or sees that they do nothing any more. */
static int let_them(uint64_t steps)
{
	uint64_t until = __atomic_load_n(&book->done, __ATOMIC_RELAXED) + steps;
	const struct timespec nap = { 0, 100000 };

	for (unsigned naps = 0; __atomic_load_n(&book->done, __ATOMIC_RELAXED) < until; naps++) {
		if (naps > 600000)
			return 0;
		nanosleep(&nap, NULL);
	}
	return 1;
}

unsigned storage_stress(uint64_t seed, unsigned kills)
{
	pid_t pid[PROCESSES];
	struct qb_rng rng;
	unsigned n = 0;
	int alive = 1;

	qb_remove_tree(storage_root);
	book = mmap(NULL, sizeof(*book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (book == MAP_FAILED)
		abort();
	qb_rng_init(&rng, seed, "store-kills");
	fflush(stdout);
	for (unsigned i = 0; i < PROCESSES; i++)
		pid[i] = spawn(i, qb_rng_next(&rng));
	for (; n < kills && alive && __atomic_load_n(&book->broken, __ATOMIC_SEQ_CST) == 0; n++) {
		/* One kill in ten hits a reader. */
		unsigned which = (unsigned)(qb_rng_below(&rng, 10) ? qb_rng_below(&rng, WRITERS) : WRITERS + qb_rng_below(&rng, READERS));
		const struct timespec nap = { 0, (long)qb_rng_below(&rng, 1000000) };

		alive = let_them(1 + qb_rng_below(&rng, 10));
		nanosleep(&nap, NULL);
		end(pid[which]);
		pid[which] = spawn(which, qb_rng_next(&rng));
	}
	for (unsigned i = 0; i < PROCESSES; i++)
		end(pid[i]);
	struct qb_store *s = open_here(0);

	qb_store_close(s);
	const char *why = storage_litter(storage_root);

	tap_note("%llu operations, %llu items read, %llu while they grew, %llu temporaries swept", (unsigned long long)book->done,
		 (unsigned long long)book->read, (unsigned long long)book->grew, (unsigned long long)book->swept);
	if (book->broken)
		tap_note("%s", book->why);
	storage_ok(alive && !book->broken && !why && (book->swept > 0 || n < 100) && book->read > 0,
	       "%u kills at random, seed %llu: each item whole, nothing of the living swept, no litter%s%s", n, (unsigned long long)seed,
	       why ? ": " : "", why ? why : "");
	munmap(book, sizeof(*book));
	return n;
}
