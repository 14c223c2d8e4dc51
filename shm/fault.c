/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/fault.h"

#ifdef QB_FAULT_POINTS

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/status.h"

extern const struct qb_fault_point __start_qb_fault[], __stop_qb_fault[];

int qb_fault_armed;
static char armed_name[96];
static unsigned hits_left;
static enum qb_fault_action armed_action;

void qb_fault_arm(const char *name, unsigned nth, enum qb_fault_action action)
{
	qb_fault_armed = 0;
	if (!name)
		return;
	size_t bytes = strlen(name);

	if (bytes >= sizeof(armed_name))
		return;
	memcpy(armed_name, name, bytes + 1);
	hits_left = nth ? nth : 1;
	armed_action = action;
	qb_fault_armed = 1;
}

void qb_fault_reached(const char *name)
{
	if (strcmp(name, armed_name) != 0 || --hits_left != 0)
		return;
	qb_fault_armed = 0;
	if (armed_action == QB_FAULT_EXIT)
		_exit(99);
	kill(getpid(), armed_action == QB_FAULT_KILL ? SIGKILL : SIGSTOP);
}

static int is_known(const char *name)
{
	const char *known;

	for (unsigned i = 0; (known = qb_fault_name(i)) != NULL; i++)
		if (strcmp(known, name) == 0)
			return 1;
	return 0;
}

/* 1 with what the variable asks for, 0 when it asks for nothing, or QB_EPARSE. */
static int read_env(char name[96], unsigned *nth, enum qb_fault_action *action)
{
	const char *spec = getenv("QBENCH_FAULT");

	*nth = 1;
	*action = QB_FAULT_KILL;
	if (!spec || !*spec)
		return 0;
	size_t len = strcspn(spec, ":");

	if (len == 0 || len >= 96)
		return QB_EPARSE;
	memcpy(name, spec, len);
	name[len] = 0;
	if (!is_known(name))
		return QB_EPARSE;
	if (spec[len]) {
		char *end;
		unsigned long v = strtoul(spec + len + 1, &end, 10);

		if (v == 0 || v > 1000000000ul)
			return QB_EPARSE;
		*nth = (unsigned)v;
		if (strcmp(end, ":stop") == 0)
			*action = QB_FAULT_STOP;
		else if (strcmp(end, ":exit") == 0)
			*action = QB_FAULT_EXIT;
		else if (*end && strcmp(end, ":kill") != 0)
			return QB_EPARSE;
	}
	return 1;
}

int qb_fault_check_env(void)
{
	char name[96];
	unsigned nth;
	enum qb_fault_action action;

	return read_env(name, &nth, &action) < 0 ? QB_EPARSE : 0;
}

int qb_fault_arm_from_env(void)
{
	char name[96];
	unsigned nth;
	enum qb_fault_action action;
	int rc = read_env(name, &nth, &action);

	if (rc > 0)
		qb_fault_arm(name, nth, action);
	return rc < 0 ? rc : 0;
}

const char *qb_fault_name(unsigned i)
{
	unsigned seen = 0;

	for (const struct qb_fault_point *p = __start_qb_fault; p < __stop_qb_fault; p++) {
		const struct qb_fault_point *q = __start_qb_fault;

		/* A point in an inline function has one entry per object that uses it. */
		while (q < p && strcmp(q->name, p->name) != 0)
			q++;
		if (q == p && seen++ == i)
			return p->name;
	}
	return NULL;
}

#else
typedef int qb_fault_is_off; /* ISO C wants something in a translation unit */
#endif
