/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault points: named places right before or after an effect that others can see.
 *
 * QB_FAULT("room.operation.after-effect") is nothing unless configured with
 * --enable-fault-points.  With it, a test arms one point by name; the process that reaches it for
 * the nth time is killed, stopped or told to exit there.  All points of a binary can be listed, so
 * a test visits each without a list of its own.
 */
#ifndef QB_SHM_FAULT_H
#define QB_SHM_FAULT_H

#ifdef QB_FAULT_POINTS

struct qb_fault_point { const char *name; };

#define QB_FAULT(point_name)                                                                       \
	do {                                                                                       \
		static const struct qb_fault_point qb_fault_here                                   \
			__attribute__((section("qb_fault"), used)) = { point_name };               \
		if (__builtin_expect(qb_fault_armed != 0, 0))                                      \
			qb_fault_reached(qb_fault_here.name);                                      \
	} while (0)

extern int qb_fault_armed;

enum qb_fault_action { QB_FAULT_KILL, QB_FAULT_STOP, QB_FAULT_EXIT };

void qb_fault_reached(const char *name);

/* The process that reaches the point for the nth time (1 = first) does the action. NULL disarms. */
void qb_fault_arm(const char *name, unsigned nth, enum qb_fault_action action);

/* Arms from QBENCH_FAULT="name[:nth[:kill|stop|exit]]"; 0, or QB_EPARSE, also for a name that this binary has not. */
int qb_fault_arm_from_env(void);

/* The same, without arming. */
int qb_fault_check_env(void);

/* The i-th distinct name of this binary, NULL behind the last. */
const char *qb_fault_name(unsigned i);

#else
#define QB_FAULT(point_name) ((void)0)
#endif

#endif
