/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forced into every source of the schedule explorer (-include tests/crash/point.h): each atomic
 * access of shm/ first lets the scheduler run somebody else.
 */
#ifndef QB_TESTS_CRASH_POINT_H
#define QB_TESTS_CRASH_POINT_H

#define QB_ATOMIC_POINT() qb_sched_point()
#define QB_WORLD_POINT() qb_sched_point()

void qb_sched_point(void);

#endif
