/* SPDX-License-Identifier: Apache-2.0 */
/* qbench --version: everything that one would ask about a program that behaves oddly. */
#include <stdio.h>

#include <jansson.h>
#include <libpq-fe.h>
#include <msgpack.h>

#include "cli/cmd.h"
#include "record/format.h"
#include "shm/clock.h"
#include "shm/segment.h"

/* configure says more than the compiler can. */
#ifndef QB_BUILD_COMPILER
#ifdef __clang__
#define QB_BUILD_COMPILER "clang " __clang_version__
#else
#define QB_BUILD_COMPILER "gcc " __VERSION__
#endif
#endif

#ifndef QB_BUILD_FEATURES
#ifdef QB_FAULT_POINTS
#define QB_BUILD_FEATURES "fault-points=yes"
#else
#define QB_BUILD_FEATURES "fault-points=no"
#endif
#endif

/* 150018 is 15.18, 90624 is 9.6.24. */
static void print_libpq(FILE *out, int version)
{
	if (version >= 100000)
		fprintf(out, "%d.%d", version / 10000, version % 10000);
	else
		fprintf(out, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

void qb_print_version(FILE *out)
{
	fprintf(out, "qbench %s\n\n", PACKAGE_VERSION);
	fprintf(out, "compiler        %s\n", QB_BUILD_COMPILER);
	fputs("libpq           ", out);
	print_libpq(out, PQlibVersion());
	fprintf(out, "\nmsgpack-c       %s\n", msgpack_version());
	fprintf(out, "jansson         %s\n", JANSSON_VERSION);
	fprintf(out, "segment layout  %d.%d, fingerprint %016llx\n", QB_LAYOUT_MAJOR,
		QB_LAYOUT_MINOR, (unsigned long long)qb_layout_fingerprint());
	fprintf(out, "record format   %u\n", QB_RECORD_VERSION);
	fprintf(out, "clock           %s\n", qb_clock_best_mode() == QB_CLOCK_TSC ?
		"time stamp counter" : "CLOCK_MONOTONIC");
	fprintf(out, "built with      %s\n", QB_BUILD_FEATURES);
}
