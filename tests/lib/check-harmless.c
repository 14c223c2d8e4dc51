/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check-harmless [json|jsonl]: may standard input be shown on a terminal? Exit status 1 and a line that
 * says where not; with an argument also when it is no JSON.
 */
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define CAP (16u << 20)

int main(int argc, char **argv)
{
	static char text[CAP];
	size_t bytes = fread(text, 1, sizeof(text), stdin);
	int good = bytes < CAP && fuzz_is_harmless(text, bytes);

	if (good && argc > 1)
		good = strcmp(argv[1], "jsonl") == 0 ? fuzz_is_json_lines(text, bytes) : fuzz_is_json(text, bytes);
	return !good;
}
