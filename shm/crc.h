/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C (Castagnoli), the check sum of payloads, results and record blocks.
 *
 * Writers and readers: anybody; no state.
 * Progress: plain computation, about 5 GB/s where the processor has the instruction (looked up at
 * run time), about 1 GB/s by table elsewhere.  Both give the same value.
 */
#ifndef QB_SHM_CRC_H
#define QB_SHM_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Start with 0, pass the result on for more bytes: crc(crc(0, a), b) = crc(0, ab). */
uint32_t qb_crc32c(uint32_t crc, const void *data, size_t bytes);

/* The same by table, whatever the processor has: for the test that compares the two. */
uint32_t qb_crc32c_table(uint32_t crc, const void *data, size_t bytes);

#endif
