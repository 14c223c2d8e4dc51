/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without any tool: seeds changed at random and, one input in four as long as there
 * are any, seeds cut at every byte and with every bit flipped; in an order that is fixed by --seed. Input number i depends on i, the seed
 * and the target's own seeds only, so that one input can be had again.
 *
 *	fuzz-NAME [--runs=N | --seconds=N] [--seed=N] [--first=N] [--save=FILE] [FILE...]
 *	fuzz-NAME --write-seeds=DIR
 *
 * FILE: only these inputs, as libFuzzer and AFL++ replay theirs. The inputs are tried in a child: its
 * death or silence is a finding, and its last input is named. They lie against a page that nobody may
 * read, so that reading one byte too far is death also without a sanitizer.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "tests/crash/tap.h"
#include "tests/fuzz/fuzz.h"

/* Of one input, on a machine that does ten other things. */
#define SILENCE_NS (120 * QB_NS_PER_S)
/* What a reader may take for itself; a sanitizer takes terabytes of addresses. */
#define MEMORY_BYTES (4ull << 30)

struct shared {
	uint64_t input;         /* the one that is being tried */
	uint64_t done;
	uint64_t slowest_ns, slowest_input;
};

struct options {
	uint64_t runs, seconds, seed, first;
	const char *save, *seeds_dir;
};

static struct shared *shared;
static uint8_t *room_end;       /* an input ends here */

/* ---- one input ---- */

struct rng {
	uint64_t state;
};

static uint64_t next(struct rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static size_t below(struct rng *r, size_t n)
{
	return n ? (size_t)(next(r) % n) : 0;
}

static void put_number(struct rng *r, uint8_t *at, size_t width)
{
	static const uint64_t odd[] = {
		0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 1,
	};
	uint64_t v = odd[below(r, sizeof(odd) / sizeof(odd[0]))];
	int big = (int)(next(r) & 1);

	for (size_t i = 0; i < width; i++)
		at[i] = (uint8_t)(v >> (8 * (big ? width - 1 - i : i)));
}

/* Moves what is behind `at` so that there is room for n bytes more. 0: it would become too long. */
static int open_gap(uint8_t *data, size_t *bytes, size_t at, size_t n)
{
	if (*bytes + n > fuzz_bytes_max)
		return 0;
	memmove(data + at + n, data + at, *bytes - at);
	*bytes += n;
	return 1;
}

static void change(struct rng *r, uint8_t *data, size_t *bytes)
{
	size_t at = below(r, *bytes), n = 1 + below(r, 1ull << below(r, 7));
	size_t width = (size_t)1 << below(r, 4);
	const struct fuzz_input *other;

	if (*bytes == 0) {
		data[(*bytes)++] = (uint8_t)next(r);
		return;
	}
	if (n > *bytes - at)
		n = *bytes - at;
	switch (below(r, 9)) {
	case 0: case 1:
		data[at] ^= (uint8_t)(1u << below(r, 8));
		break;
	case 2:
		data[at] = (uint8_t)next(r);
		break;
	case 3: case 4:
		if (width <= *bytes - at)
			put_number(r, data + at, width);
		break;
	case 5:
		*bytes = at;
		break;
	case 6:
		memmove(data + at, data + at + n, *bytes - at - n);
		*bytes -= n;
		break;
	case 7:
		if (open_gap(data, bytes, at, n))
			memset(data + at, (int)(next(r) & 1 ? data[at] : next(r) & 0xff), n);
		break;
	default:
		/* The front of this one, a piece of another. */
		other = &fuzz_corpus[below(r, fuzz_corpus_count)];
		size_t from = below(r, other->bytes), many = 1 + below(r, other->bytes - from);

		if (other->bytes == 0)
			break;
		if (many > fuzz_bytes_max - at)
			many = fuzz_bytes_max - at;
		memcpy(data + at, other->data + from, many);
		if (at + many > *bytes || next(r) & 1)
			*bytes = at + many;
		break;
	}
}

/* The seeds as they are and cut at every byte, then with every bit flipped. 0: i is beyond all that. */
static int enumerate(uint64_t i, uint8_t *data, size_t *bytes)
{
	for (size_t k = 0; k < fuzz_corpus_count; k++) {
		const struct fuzz_input *from = &fuzz_corpus[k];

		if (i <= from->bytes) {
			*bytes = from->bytes - (size_t)i;
			memcpy(data, from->data, *bytes);
			return 1;
		}
		i -= from->bytes + 1;
	}
	for (size_t k = 0; k < fuzz_corpus_count; k++) {
		const struct fuzz_input *from = &fuzz_corpus[k];

		if (i < 8 * from->bytes) {
			*bytes = from->bytes;
			memcpy(data, from->data, *bytes);
			data[i / 8] ^= (uint8_t)(1u << i % 8);
			return 1;
		}
		i -= 8 * from->bytes;
	}
	return 0;
}

/* Input number i into data, which has room for the longest. Returns its length. One in four is enumerated. */
static size_t make_input(uint64_t seed, uint64_t i, uint8_t *data)
{
	struct rng r = { seed * 0xd1342543de82ef95ull + i };
	const struct fuzz_input *from;
	size_t bytes;

	if (i % 4 == 0 && enumerate(i / 4, data, &bytes))
		return bytes;
	from = &fuzz_corpus[below(&r, fuzz_corpus_count)];
	bytes = from->bytes;
	memcpy(data, from->data, bytes);
	for (uint64_t n = 1 + below(&r, 1ull << below(&r, 5)); n > 0; n--)
		change(&r, data, &bytes);
	return bytes;
}

static void try_input(const uint8_t *data, size_t bytes)
{
	uint8_t *at = room_end - bytes;

	if (bytes)
		memcpy(at, data, bytes);
	LLVMFuzzerTestOneInput(at, bytes);
}

/* ---- many, in a child ---- */

static void limit_memory(void)
{
	struct rlimit limit = { MEMORY_BYTES, MEMORY_BYTES }, none = { 0, 0 };

	if (!UNDER_ASAN && !UNDER_TSAN)
		setrlimit(RLIMIT_AS, &limit);
	setrlimit(RLIMIT_CORE, &none);
}

static void __attribute__((noreturn)) child(const struct options *o)
{
	uint8_t *data = malloc(fuzz_bytes_max + 1);
	uint64_t end_ns = o->seconds ? qb_now_ns() + o->seconds * QB_NS_PER_S : UINT64_MAX;
	uint64_t end = o->seconds ? UINT64_MAX : o->first + o->runs, before_ns = qb_now_ns();

	if (!data)
		abort();
	limit_memory();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);        /* the parent decides */
	for (uint64_t i = o->first; i < end && before_ns < end_ns; i++) {
		__atomic_store_n(&shared->input, i, __ATOMIC_RELAXED);
		try_input(data, make_input(o->seed, i, data));
		__atomic_store_n(&shared->done, i + 1 - o->first, __ATOMIC_RELAXED);

		uint64_t now_ns = qb_now_ns();

		if (now_ns - before_ns > shared->slowest_ns) {
			shared->slowest_ns = now_ns - before_ns;
			shared->slowest_input = i;
		}
		before_ns = now_ns;
	}
	/* Also for the leak checker, which runs at exit. */
	free(data);
	exit(0);
}

static volatile sig_atomic_t told_to_stop;

static void on_signal(int sig)
{
	(void)sig;
	told_to_stop = 1;
}

/* Ctrl-C ends the child too, and then this process by way of exit(): a temporary file goes. */
static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

/* Waits for its end; kills it when it is silent. 1: it was silent. */
static int watch(pid_t pid, int *status)
{
	uint64_t seen = UINT64_MAX, since_ns = qb_now_ns();
	const struct timespec nap = { .tv_nsec = 20000000 };

	catch_signals();
	while (waitpid(pid, status, WNOHANG) != pid) {
		uint64_t done = __atomic_load_n(&shared->done, __ATOMIC_RELAXED);

		if (done != seen && !told_to_stop) {
			seen = done;
			since_ns = qb_now_ns();
		} else if (told_to_stop) {
			kill(pid, SIGKILL);
			waitpid(pid, status, 0);
			exit(130);
		} else if (qb_now_ns() - since_ns > SILENCE_NS) {
			kill(pid, SIGKILL);
			waitpid(pid, status, 0);
			return 1;
		}
		nanosleep(&nap, NULL);
	}
	return 0;
}

static void show_input(const struct options *o)
{
	uint8_t *data = malloc(fuzz_bytes_max + 1);
	size_t bytes;

	if (!data)
		abort();
	bytes = make_input(o->seed, shared->input, data);
	tap_note("input %llu, %zu bytes; again: fuzz-%s --seed=%llu --first=%llu --runs=1 (--save=FILE keeps it)",
		 (unsigned long long)shared->input, bytes, fuzz_name, (unsigned long long)o->seed,
		 (unsigned long long)shared->input);
	printf("# bytes:");
	for (size_t i = 0; i < bytes && i < 256; i++)
		printf(" %02x", data[i]);
	puts(bytes > 256 ? " ..." : "");
	free(data);
}

static int run(const struct options *o)
{
	int status, silent, good;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return tap_ok(0, "fork: %s", strerror(errno));
	if (pid == 0)
		child(o);
	silent = watch(pid, &status);
	good = !silent && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (!good) {
		if (silent)
			tap_note("no answer for %llu s", (unsigned long long)(SILENCE_NS / QB_NS_PER_S));
		else if (WIFSIGNALED(status))
			tap_note("killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
		else
			tap_note("ended with status %d", WEXITSTATUS(status));
		show_input(o);
	}
	tap_note("figures: hostile_inputs=%llu crashes=%d slowest_ms=%llu seeds=%zu target=%s",
		 (unsigned long long)shared->done, !good, (unsigned long long)(shared->slowest_ns / QB_NS_PER_MS),
		 fuzz_corpus_count, fuzz_name);
	return tap_ok(good && shared->done > 0, "%s survives what it is given", fuzz_name);
}

/* ---- files ---- */

static void write_file(const char *path, const uint8_t *data, size_t bytes)
{
	FILE *f = fopen(path, "wb");

	if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f)) {
		fprintf(stderr, "fuzz-%s: %s: %s\n", fuzz_name, path, strerror(errno));
		exit(2);
	}
}

static void write_seeds(const char *dir)
{
	char path[4096];

	for (size_t i = 0; i < fuzz_corpus_count; i++) {
		snprintf(path, sizeof(path), "%s/seed-%03zu", dir, i);
		write_file(path, fuzz_corpus[i].data, fuzz_corpus[i].bytes);
	}
}

static void save(const struct options *o)
{
	uint8_t *data = malloc(fuzz_bytes_max + 1);

	if (!data)
		abort();
	write_file(o->save, data, make_input(o->seed, o->first, data));
	free(data);
}

static void replay(const char *path)
{
	uint8_t *data = malloc(fuzz_bytes_max + 1);
	FILE *f = fopen(path, "rb");

	if (!data || !f) {
		fprintf(stderr, "fuzz-%s: %s: %s\n", fuzz_name, path, strerror(errno));
		exit(2);
	}
	size_t bytes = fread(data, 1, fuzz_bytes_max, f);

	fclose(f);
	try_input(data, bytes);
	free(data);
}

static uint64_t number(const char *text)
{
	uint64_t v;

	if (qb_parse_u64(text, &v) == 0)
		return v;
	fprintf(stderr, "fuzz-%s: \"%s\" is not a number\n", fuzz_name, text);
	exit(2);
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "runs", required_argument, NULL, 'r' }, { "seconds", required_argument, NULL, 't' },
		{ "seed", required_argument, NULL, 's' }, { "first", required_argument, NULL, 'f' },
		{ "save", required_argument, NULL, 'o' }, { "write-seeds", required_argument, NULL, 'w' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'r': o->runs = number(optarg); break;
		case 't': o->seconds = number(optarg); break;
		case 's': o->seed = number(optarg); break;
		case 'f': o->first = number(optarg); break;
		case 'o': o->save = optarg; break;
		case 'w': o->seeds_dir = optarg; break;
		default: exit(2);
		}
	}
}

static void make_room(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (fuzz_bytes_max + page) / page * page;
	uint8_t *room = mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED || shared == MAP_FAILED || mprotect(room + bytes, page, PROT_NONE))
		abort();
	room_end = room + bytes;
}

int main(int argc, char **argv)
{
	const char *factor = getenv("QB_FUZZ_FACTOR");
	struct options o = { .runs = fuzz_runs, .seed = 1 };

	/* Instrumented code is ten times as slow. */
	if (UNDER_ASAN || UNDER_TSAN)
		o.runs /= 20;
	if (factor)
		o.runs *= number(factor);
	parse(argc, argv, &o);
	make_room();
	fuzz_seeds();
	for (size_t i = 0; i < fuzz_corpus_count; i++) {
		if (fuzz_corpus[i].bytes > fuzz_bytes_max)
			fuzz_corpus[i].bytes = fuzz_bytes_max;
	}
	if (o.seeds_dir) {
		write_seeds(o.seeds_dir);
		return 0;
	}
	if (o.save) {
		save(&o);
		return 0;
	}
	if (optind < argc) {
		for (int i = optind; i < argc; i++)
			replay(argv[i]);
		return 0;
	}
	run(&o);
	return tap_done();
}
