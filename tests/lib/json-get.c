/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Print values out of a JSON file, for shell tests:
 *
 *	json-get FILE PATH...        libraries.0.runs.0.lost    one line per value
 *	                             libraries.*.runs.*.lost    "*": every element or member
 *
 * Strings are printed bare, true and false as 1 and 0, null as an empty line; objects and arrays as
 * their number of members.  Exit status 1 when a path leads nowhere.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print(const json_t *v)
{
	if (json_is_string(v))
		puts(json_string_value(v));
	else if (json_is_integer(v))
		printf("%lld\n", (long long)json_integer_value(v));
	else if (json_is_real(v))
		printf("%.17g\n", json_real_value(v));
	else if (json_is_boolean(v))
		puts(json_is_true(v) ? "1" : "0");
	else if (json_is_null(v))
		puts("");
	else
		printf("%zu\n", json_is_array(v) ? json_array_size(v) : json_object_size(v));
	return 1;
}

/* The values that the rest of the path leads to. Returns how many there were. */
static int walk(json_t *v, const char *path)
{
	char step[128];
	size_t n = strcspn(path, ".");
	int found = 0;

	if (!v)
		return 0;
	if (!*path)
		return print(v);
	if (n >= sizeof(step))
		return 0;
	memcpy(step, path, n);
	step[n] = '\0';
	path += n + (path[n] == '.');
	if (strcmp(step, "*") != 0)
		return walk(json_is_array(v) ? json_array_get(v, (size_t)atol(step)) : json_object_get(v, step), path);
	for (size_t i = 0; i < json_array_size(v); i++)
		found += walk(json_array_get(v, i), path);
	for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it))
		found += walk(json_object_iter_value(it), path);
	return found;
}

int main(int argc, char **argv)
{
	json_error_t error;
	json_t *root;
	int status = 0;

	if (argc < 3) {
		fputs("usage: json-get FILE PATH...\n", stderr);
		return 2;
	}
	root = json_load_file(argv[1], JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		fprintf(stderr, "json-get: %s:%d: %s\n", argv[1], error.line, error.text);
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		if (walk(root, argv[i]) || strchr(argv[i], '*'))
			continue;
		fprintf(stderr, "json-get: %s has no %s\n", argv[1], argv[i]);
		status = 1;
	}
	json_decref(root);
	return status;
}
