/* SPDX-License-Identifier: Apache-2.0 */
/*
 * make-record [OPTION]... FILE: a record or a segment of a made-up run, for the tests of
 * decode-events. Prints what the run adds up to, as "name=count" words.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/num.h"
#include "tests/lib/run-maker.h"

struct options {
	struct qb_maker_settings set;
	uint64_t slice_ns;
	int segment, torn, end;
	uint64_t event_count;
};

static const struct option longs[] = {
	{ "segment", no_argument, NULL, 's' },
	{ "torn", no_argument, NULL, 't' },
	{ "no-end", no_argument, NULL, 'n' },
	{ "jobs", required_argument, NULL, 'j' },
	{ "workers", required_argument, NULL, 'w' },
	{ "slots", required_argument, NULL, 'S' },
	{ "kills", required_argument, NULL, 'k' },
	{ "interval", required_argument, NULL, 'i' },
	{ "work", required_argument, NULL, 'W' },
	{ "unacknowledged", required_argument, NULL, 'u' },
	{ "event-count", required_argument, NULL, 'e' },
	{ "cache", no_argument, NULL, 'c' },
	{ "run-id", required_argument, NULL, 'r' },
	{ NULL, 0, NULL, 0 },
};

static uint64_t number(const char *text, uint64_t max)
{
	uint64_t v;

	if (qb_parse_u64(text, &v) < 0 || v > max) {
		qb_log(QB_LOG_ERROR, "a number up to %llu is wanted, not \"%s\"",
		       (unsigned long long)max, text);
		exit(2);
	}
	return v;
}

static uint64_t duration(const char *text)
{
	uint64_t ns;

	if (qb_parse_duration(text, &ns) < 0 || ns == 0) {
		qb_log(QB_LOG_ERROR, "a duration is wanted, not \"%s\"", text);
		exit(2);
	}
	return ns;
}

static void parse(int argc, char **argv, struct options *o)
{
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's': o->segment = 1; break;
		case 'c': o->set.cache = 1; break;
		case 't': o->torn = 1; break;
		case 'n': o->end = 0; break;
		case 'j': o->set.jobs = (uint32_t)number(optarg, 100000000); break;
		case 'w': o->set.workers = (uint32_t)number(optarg, QB_MAKER_SEATS - 5); break;
		case 'S': o->set.slots = (uint32_t)number(optarg, 4); break;
		case 'k': o->set.kills = (uint32_t)number(optarg, 10000); break;
		case 'i': o->set.interval_ns = duration(optarg); break;
		case 'W': o->set.work_ns = duration(optarg); break;
		case 'u': o->set.unacknowledged = (uint32_t)number(optarg, 1000000); break;
		case 'e': o->event_count = number(optarg, 1u << 24); break;
		case 'r': o->set.run_id = optarg; break;
		default: exit(2);
		}
	}
	if (o->set.slots == 0 || o->set.workers == 0) {
		qb_log(QB_LOG_ERROR, "at least one worker with one slot is wanted");
		exit(2);
	}
	if (optind + 1 != argc) {
		qb_log(QB_LOG_ERROR, "one file is wanted");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct options o = { .slice_ns = 10000000, .end = 1, .event_count = 4096 };
	struct qb_err err = { 0 };
	struct qb_maker m;
	size_t events = 0;
	int rc;

	qb_log_set_name("make-record");
	qb_maker_defaults(&o.set);
	parse(argc, argv, &o);
	qb_maker_run(&m, &o.set);
	if (o.segment)
		rc = qb_maker_write_segment(&m, argv[optind], (uint32_t)o.event_count, o.torn,
					    &err);
	else
		rc = qb_maker_write_record(&m, argv[optind], o.slice_ns, o.end, &err);
	if (rc < 0) {
		qb_log(QB_LOG_ERROR, "%s", err.text);
		return 1;
	}
	for (unsigned seat = 0; seat < QB_MAKER_SEATS; seat++)
		events += m.logs[seat].count;
	printf("events=%zu enqueued=%llu completed=%llu failed=%llu discarded=%llu requeued=%llu "
	       "ambiguous=%llu killed=%llu\n", events, (unsigned long long)m.enqueued,
	       (unsigned long long)m.completed, (unsigned long long)m.failed,
	       (unsigned long long)m.discarded, (unsigned long long)m.requeued,
	       (unsigned long long)m.ambiguous, (unsigned long long)m.killed);
	qb_maker_free(&m);
	return 0;
}
