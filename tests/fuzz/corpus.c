/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

struct fuzz_input *fuzz_corpus;
size_t fuzz_corpus_count;

void fuzz_seed(const void *data, size_t bytes)
{
	struct fuzz_input *to;

	fuzz_corpus = realloc(fuzz_corpus, (fuzz_corpus_count + 1) * sizeof(*fuzz_corpus));
	if (!fuzz_corpus)
		abort();
	to = &fuzz_corpus[fuzz_corpus_count++];
	to->data = malloc(bytes ? bytes : 1);
	if (!to->data)
		abort();
	if (bytes)
		memcpy(to->data, data, bytes);
	to->bytes = bytes;
}

void fuzz_broken(const char *file, int line, const char *what)
{
	fprintf(stderr, "# %s:%d: does not hold: %s\n", file, line, what);
	fflush(stderr);
	abort();
}
