/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT and SIGTERM set qb_interrupted; the third one ends the program at once. */
#ifndef QB_CLI_INTERRUPT_H
#define QB_CLI_INTERRUPT_H

void qb_catch_interrupts(void);

#endif
