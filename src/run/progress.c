/* SPDX-License-Identifier: Apache-2.0 */
#include "run/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"

#define EVERY_NS (200 * QB_NS_PER_MS)
#define LETTERS_MAX 40

void qb_progress_open(struct qb_progress *p, const char *label, int quiet)
{
	memset(p, 0, sizeof(*p));
	p->on = !quiet && isatty(STDERR_FILENO);
	p->label = label;
}

/* One letter for each process: R serves, c starts, s stands by, S syncs, r is being recovered. */
static void letters(const struct qb_seg *seg, char out[LETTERS_MAX + 1])
{
	unsigned n = 0;

	for (uint32_t seat = 1; seat < seg->cfg.seat_count && n < LETTERS_MAX; seat++) {
		uint64_t w = qb_load_relaxed64(&seg->seats[seat].word);
		int ready = qb_load_relaxed64(&seg->seats[seat].ready_raw) != 0;

		if (qb_seat_state_of(w) == QB_SEAT_RECOVERING)
			out[n++] = 'r';
		else if (qb_seat_state_of(w) == QB_SEAT_TAKEN && qb_seat_role(w) == QB_ROLE_WORKER)
			out[n++] = ready ? 'R' : 'c';
		else if (qb_seat_state_of(w) == QB_SEAT_TAKEN && qb_seat_role(w) == QB_ROLE_STANDBY)
			out[n++] = 's';
		else if (qb_seat_state_of(w) == QB_SEAT_TAKEN && qb_seat_role(w) == QB_ROLE_SYNCER)
			out[n++] = 'S';
	}
	out[n] = 0;
}

void qb_progress_show(struct qb_progress *p, const struct qb_seg *seg, const struct qb_progress_numbers *n)
{
	char seats[LETTERS_MAX + 1], line[256];
	uint64_t now = qb_now_ns();

	if (!p->on || now - p->at_ns < EVERY_NS)
		return;
	p->at_ns = now;
	p->drawn = 1;
	letters(seg, seats);
	int len = snprintf(line, sizeof(line), "\r\033[K%s  %s %.1f s  enqueued %llu/%llu  done %llu  failed %llu  kills %llu/%llu  [%s]",
			   p->label, n->phase, (double)n->elapsed_ns / 1e9, (unsigned long long)n->acknowledged,
			   (unsigned long long)n->planned, (unsigned long long)n->completed,
			   (unsigned long long)n->failed, (unsigned long long)n->kills,
			   (unsigned long long)n->kills_planned, seats);

	qb_write_full(STDERR_FILENO, line, (size_t)(len < (int)sizeof(line) ? len : (int)sizeof(line) - 1));
}

void qb_progress_clear(struct qb_progress *p)
{
	if (p->drawn)
		qb_write_full(STDERR_FILENO, "\r\033[K", 4);
	p->drawn = 0;
}
