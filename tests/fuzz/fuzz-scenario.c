/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scenario files. What is taken is within its limits, prints as a file that reads back as the same, and
 * makes a plan; what is refused is refused in one harmless line that names the file.
 */
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "shm/status.h"
#include "tests/fuzz/fuzz.h"
#include "workload/builtin.h"
#include "workload/plan.h"
#include "workload/scenario.h"

const char fuzz_name[] = "scenario";
const size_t fuzz_bytes_max = 4096;
const uint64_t fuzz_runs = 100000;

/* More jobs take longer and show nothing new. */
#define JOBS_MAX 2000

static struct fuzz_output printed;

static void check_taken(const struct qb_scenario *sc)
{
	struct qb_scenario again;
	struct qb_err err = { 0 };
	struct qb_plan plan = { 0 };
	const char *text;
	char *first;
	size_t bytes, first_bytes;

	FUZZ_MUST(qb_scenario_check(sc, &err) == 0);
	FUZZ_MUST(sc->kinds_count >= 1 && sc->kinds_count <= QB_SCENARIO_KINDS_MAX);
	fuzz_output_begin(&printed);
	FUZZ_MUST(qb_scenario_print(sc, printed.stream) == 0);
	text = fuzz_output_text(&printed, &first_bytes);
	FUZZ_MUST(fuzz_is_harmless(text, first_bytes));
	first = malloc(first_bytes + 1);
	if (!first)
		abort();
	memcpy(first, text, first_bytes + 1);
	FUZZ_MUST(qb_scenario_parse("x.ini", first, first_bytes, &again, &err) == 0);
	fuzz_output_begin(&printed);
	FUZZ_MUST(qb_scenario_print(&again, printed.stream) == 0);
	text = fuzz_output_text(&printed, &bytes);
	FUZZ_MUST(bytes == first_bytes && !memcmp(text, first, bytes));
	free(first);
	struct qb_keyset set = qb_scenario_keyset(sc);
	struct qb_cacheset cache = qb_scenario_cacheset(sc);
	uint32_t tenants = cache.callers ? qb_cacheset_all_addresses(&cache) : sc->tenants;

	if (qb_keyset_jobs(&set) > JOBS_MAX || qb_cacheset_jobs(&cache) > JOBS_MAX ||
	    (double)sc->rate * ((double)sc->duration_ns / 1e9) * sc->burst.multiplier > JOBS_MAX)
		return;
	if (qb_plan_build(sc, &plan, &err) == 0) {
		for (size_t i = 0; i < plan.count; i++)
			FUZZ_MUST(plan.jobs[i].kind < sc->kinds_count && plan.jobs[i].tenant < tenants);
	}
	qb_plan_free(&plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct qb_scenario sc;
	struct qb_err err = { 0 };
	int rc;

	if (!printed.stream)
		fuzz_output_open(&printed);
	rc = qb_scenario_parse("x.ini", (const char *)data, bytes, &sc, &err);
	if (rc == 0) {
		check_taken(&sc);
	} else {
		FUZZ_MUST(rc == QB_EPARSE && err.code == rc);
		FUZZ_MUST(!strncmp(err.text, "x.ini:", 6) && memchr(err.text, 0, sizeof(err.text)));
	}
	return 0;
}

void fuzz_seeds(void)
{
	static const char small[] =
		"[scenario]\nduration = 1s\nrate = 50\ntenants = 3\nworkers = 2\n"
		"[burst]\nmultiplier = 2\nstart = 100ms\nend = 300ms\n"
		"[errors]\ntransient = 0.25\n[faults]\nkills = 1\nvictim = worker\nstart = 0\nend = 1s\n"
		"[kind a]\nweight = 1\nwork_ms = 1..2\npayload_bytes = 10..20\n";
	static const char tiny[] = "[scenario]\nduration=1s\nrate=2\n[kind a]\nwork_ms=1\npayload_bytes=1\n";

	fuzz_seed(small, strlen(small));
	fuzz_seed(tiny, strlen(tiny));
	for (size_t i = 0; qb_builtins[i].name; i++)
		fuzz_seed(qb_builtins[i].text, strlen(qb_builtins[i].text));
}
