/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interrupt.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "run/run.h"

/*
 * The first lets the run end in order and clean up. Whoever is too impatient for that gets the
 * default action with the third; the processes of the run then end by themselves.
 */
static void on_signal(int sig)
{
	if (qb_interrupted++ >= 2) {
		signal(sig, SIG_DFL);
		raise(sig);
	}
}

void qb_catch_interrupts(void)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_signal;
	sigemptyset(&sa.sa_mask);
	/* No SA_RESTART: whoever sleeps in a system call shall look. */
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}
