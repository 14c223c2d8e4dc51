/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Make a segment as the dead leave it, see segment-maker.h.
 *
 *	make-segment PATH [DAMAGE] [alive PID | reused PID] [names NAME]
 *
 * names: what the description is to call everything, at most 15 bytes of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/segment-maker.h"

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "make-segment: %s failed\n", what);
	exit(1);
}

static struct qb_job_shm *job_in(struct qb_seg *seg, uint32_t state)
{
	uint32_t i;

	for (i = 0; i < seg->cfg.job_count; i++) {
		if (qb_word_state(qb_load_acquire64(&seg->jobs[i].word)) == state)
			return &seg->jobs[i];
	}
	must(0, "finding a job");
	return NULL;
}

/* 1 when that was a damage that there is. */
static int damage(struct qb_seg *seg, const char *what, const char *path)
{
	struct qb_header_shm *h = seg->hdr;

	if (!strcmp(what, "magic"))
		h->magic ^= 1;
	else if (!strcmp(what, "endian"))
		h->magic = __builtin_bswap64(h->magic);
	else if (!strcmp(what, "version"))
		h->major = 999;
	else if (!strcmp(what, "feature"))
		h->incompat_flags = 4;
	else if (!strcmp(what, "fingerprint"))
		h->layout_fp ^= 1;
	else if (!strcmp(what, "unready"))
		h->ready.v = 0;
	else if (!strcmp(what, "corrupt"))
		h->section[QB_SEC_JOBS].off += 8;
	else if (!strcmp(what, "otherboot"))
		h->boot_id ^= 1;
	else if (!strcmp(what, "short"))
		must(truncate(path, (off_t)seg->bytes / 2) == 0, "truncate");
	else if (!strcmp(what, "tiny"))
		must(truncate(path, 100) == 0, "truncate");
	else if (!strcmp(what, "word"))
		job_in(seg, QB_JOB_READY)->word.v |= 0x3f;
	else if (!strcmp(what, "payload"))
		job_in(seg, QB_JOB_STARTED)->payload_crc ^= 1;
	else if (!strcmp(what, "result"))
		job_in(seg, QB_JOB_DONE)->result_crc ^= 1;
	else if (!strcmp(what, "ring"))
		qb_seg_ring(seg, QB_RING_NORMAL)->head.v += 1000000;
	else if (!strcmp(what, "meta"))
		memset(seg->base + seg->sec[QB_SEC_META].off + 4, 0xc1, 8);
	else
		return 0;
	return 1;
}

int main(int argc, char **argv)
{
	struct qb_segment_wish wish = { 0 };
	struct qb_seg *seg;
	int i;

	must(argc >= 2, "finding the operand PATH");
	for (i = 2; i + 1 < argc; i++) {
		int reused = !strcmp(argv[i], "reused");

		if (reused || !strcmp(argv[i], "alive")) {
			wish.pid = (uint32_t)atoi(argv[i + 1]);
			wish.reused = reused;
		} else if (!strcmp(argv[i], "names")) {
			wish.name = argv[i + 1];
		}
	}
	seg = qb_segment_make(argv[1], &wish);
	if (argc > 2 && strcmp(argv[2], "alive") && strcmp(argv[2], "reused") && strcmp(argv[2], "names"))
		must(damage(seg, argv[2], argv[1]), "knowing that damage");
	qb_seg_detach(seg);
	return 0;
}
