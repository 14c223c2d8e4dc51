/* SPDX-License-Identifier: Apache-2.0 */
/* The scenario files inside the program: builtin.c is made by embed.sh. Private to workload/. */
#ifndef QB_WORKLOAD_BUILTIN_H
#define QB_WORKLOAD_BUILTIN_H

struct qb_builtin {
	const char *name;       /* file name without ".ini"; NULL ends the array */
	const char *text;       /* the whole file */
};

extern const struct qb_builtin qb_builtins[];

#endif
