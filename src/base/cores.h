/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU quota of control groups (version 2). A file of its own, private to base/, so that it can be
 * tested on a constructed tree; everybody else calls qb_proc_cores().
 */
#ifndef QB_BASE_CORES_H
#define QB_BASE_CORES_H

/*
 * Cores that the quota of this process's group or of any group above it allows, rounded up; 0
 * when nothing limits them or the files cannot be read. root is put in front of every path: "".
 */
unsigned qb_cgroup_cores(const char *root);

#endif
