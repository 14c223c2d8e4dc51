/* SPDX-License-Identifier: Apache-2.0 */
/* What machine this is, for the reader of a result. Facts that cannot be had are "" or 0. */
#ifndef QB_BASE_HOST_H
#define QB_BASE_HOST_H

#include <stddef.h>
#include <stdint.h>

struct qb_host {
	char name[65];
	char cpu[96];                   /* model, as the kernel names it */
	char kernel[96];                /* "Linux 6.1.0-18-amd64 x86_64" */
	uint32_t cores;                 /* that this process may use */
	uint32_t cores_online;
	uint64_t memory_bytes;          /* of the machine */
};

void qb_host_read(struct qb_host *h);

/*
 * The facts as key and value, for a record: fact i is written for i = 0, 1, ... until 0 is
 * returned. key takes 32 bytes, value 96.
 */
int qb_host_fact(const struct qb_host *h, unsigned i, char *key, size_t key_cap, char *value,
		 size_t value_cap);
/* The way back: 1 when key names a fact (a value that is no number is left 0), else 0. */
int qb_host_take(struct qb_host *h, const char *key, const char *value);

/* "AMD EPYC 7B13, 2 of 8 cores, 7.75 GiB, Linux 6.1.0-18-amd64 x86_64". Returns buf. */
const char *qb_host_line(const struct qb_host *h, char *buf, size_t cap);

/* The model in the text of /proc/cpuinfo, or "". */
void qb_host_cpu_model(const char *cpuinfo, char *out, size_t cap);

#endif
