/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target: one file with these four, linked either with libFuzzer (--enable-fuzzers) or with
 * drive.c, which needs nothing but a compiler.  See README.md.
 *
 * A target must not die, hang or leak whatever the bytes are; what else must hold it says itself, with
 * FUZZ_MUST.  It keeps no state between two inputs that the first could spoil for the second.
 */
#ifndef QB_TESTS_FUZZ_H
#define QB_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

extern const char fuzz_name[];          /* "msgpack" */
extern const size_t fuzz_bytes_max;     /* longest input that is tried */
extern const uint64_t fuzz_runs;        /* inputs of "make check" */

/* Calls fuzz_seed() for each input to begin with, which is copied. */
void fuzz_seeds(void);
void fuzz_seed(const void *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Dies with what did not hold; the driver says for which input. */
#define FUZZ_MUST(what) \
	((what) ? (void)0 : fuzz_broken(__FILE__, __LINE__, #what))
void fuzz_broken(const char *file, int line, const char *what) __attribute__((noreturn));

/* corpus.c: the seeds in the order in which they were given. */
struct fuzz_input {
	uint8_t *data;
	size_t bytes;
};
extern struct fuzz_input *fuzz_corpus;
extern size_t fuzz_corpus_count;

/*
 * Bytes taken off the front of an input, 0 when it is used up: for targets whose inputs are a
 * sequence of numbers and texts.
 */
struct fuzz_reader {
	const uint8_t *at, *end;
};

static inline uint8_t fuzz_u8(struct fuzz_reader *r)
{
	return r->at < r->end ? *r->at++ : 0;
}

static inline uint64_t fuzz_number(struct fuzz_reader *r, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)fuzz_u8(r) << (8 * i);
	return v;
}

/* Up to and without the next byte of that value, with a NUL behind it; at most cap - 1 bytes. */
static inline size_t fuzz_text(struct fuzz_reader *r, uint8_t stop, char *out, size_t cap)
{
	size_t n = 0;

	while (r->at < r->end && *r->at != stop) {
		if (n < cap - 1)
			out[n++] = (char)*r->at;
		r->at++;
	}
	if (r->at < r->end)
		r->at++;
	out[n] = '\0';
	return n;
}

/* output.c: a stream whose text is kept, to be looked at. */
struct fuzz_output {
	char *data;             /* NUL behind it */
	size_t bytes, cap;
	FILE *stream;           /* flushed by fuzz_output_text() */
};

void fuzz_output_open(struct fuzz_output *out);         /* once; then begin before each use */
void fuzz_output_begin(struct fuzz_output *out);
const char *fuzz_output_text(struct fuzz_output *out, size_t *bytes);

/* Does it leave a terminal alone: no control character but the newline, valid UTF-8, no C1? */
int fuzz_is_harmless(const char *text, size_t bytes);
/* Is it one JSON value / one object a line? */
int fuzz_is_json(const char *text, size_t bytes);
int fuzz_is_json_lines(const char *text, size_t bytes);

#endif
