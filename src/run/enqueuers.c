/* SPDX-License-Identifier: Apache-2.0 */
#include "run/enqueuers.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "shm/wait.h"

#define FULL_PAUSE_NS QB_NS_PER_MS
#define REOPEN_PAUSE_NS (100 * QB_NS_PER_MS)

struct queue_of_requests {
	struct cds_wfcq_head head;
	struct cds_wfcq_tail tail;
};

struct qb_enqueuers {
	const struct qb_queue_ops *ops;
	struct qb_queue_env env;
	struct queue_of_requests asked, answered;
	sem_t work;
	int stop;               /* atomic */
	size_t open_count;
	unsigned threads;
	pthread_t thread[QB_ENQUEUERS];
};

static int stopping(struct qb_enqueuers *p)
{
	return __atomic_load_n(&p->stop, __ATOMIC_ACQUIRE);
}

static struct qb_enqueue_request *of_node(struct cds_wfcq_node *node)
{
	return node ? caa_container_of(node, struct qb_enqueue_request, node) : NULL;
}

/* One try with an open queue; a queue that breaks is closed and opened again for the next request. */
static void serve(struct qb_enqueuers *p, struct qb_queue **q, struct qb_enqueue_request *r)
{
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };

	r->rc = *q ? 0 : p->ops->open(&p->env, q, &err);
	if (r->rc == 0) {
		do {
			r->rc = p->ops->enqueue(*q, &r->what, &ticket, &err);
			if (r->rc == QB_FULL)
				qb_sleep_ns(FULL_PAUSE_NS);
		} while (r->rc == QB_FULL && !stopping(p));
	} else {
		*q = NULL;
		qb_sleep_ns(REOPEN_PAUSE_NS);
	}
	r->done_ns = qb_now_ns();
	if (r->rc == QB_OK)
		return;
	if (r->rc > 0)
		r->rc = QB_ETIMEOUT;
	snprintf(r->why, sizeof(r->why), "%.*s", (int)sizeof(r->why) - 1, err.text);
	if (*q)
		p->ops->close(*q);
	*q = NULL;
}

static void *enqueuer_main(void *opaque)
{
	struct qb_enqueuers *p = opaque;
	struct qb_queue *q = NULL;
	struct qb_err err = { 0 };

	if (p->ops->open(&p->env, &q, &err) < 0)
		q = NULL;
	while (!stopping(p)) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 1;
		if (sem_timedwait(&p->work, &until) < 0)
			continue;
		struct qb_enqueue_request *r = of_node(cds_wfcq_dequeue_blocking(&p->asked.head, &p->asked.tail));

		if (!r)
			continue;
		serve(p, &q, r);
		/* It still points at its old neighbour. */
		cds_wfcq_node_init(&r->node);
		cds_wfcq_enqueue(&p->answered.head, &p->answered.tail, &r->node);
		qb_wake_seat(p->env.seg, p->env.seat);
	}
	if (q)
		p->ops->close(q);
	return NULL;
}

int qb_enqueuers_start(const struct qb_queue_ops *ops, const struct qb_queue_env *env, struct qb_enqueuers **out,
		       struct qb_err *err)
{
	struct qb_enqueuers *p = qb_xcalloc(1, sizeof(*p));
	sigset_t all, old;
	int rc = 0;

	p->ops = ops;
	p->env = *env;
	cds_wfcq_init(&p->asked.head, &p->asked.tail);
	cds_wfcq_init(&p->answered.head, &p->answered.tail);
	sem_init(&p->work, 0, 0);
	/* Signals are for the driver's own thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (rc == 0 && p->threads < QB_ENQUEUERS) {
		rc = pthread_create(&p->thread[p->threads], NULL, enqueuer_main, p);
		p->threads += rc == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		qb_enqueuers_stop(p);
		return qb_err_errno(err, rc, "could not start the threads that enqueue");
	}
	*out = p;
	return 0;
}

struct qb_enqueue_request *qb_enqueue_request(const void *payload, uint32_t bytes)
{
	struct qb_enqueue_request *r = qb_xmalloc(sizeof(*r) + bytes);

	memset(r, 0, sizeof(*r));
	cds_wfcq_node_init(&r->node);
	memcpy(r + 1, payload, bytes);
	r->what.payload = r + 1;
	r->what.payload_bytes = bytes;
	return r;
}

void qb_enqueuers_put(struct qb_enqueuers *p, struct qb_enqueue_request *r)
{
	p->open_count++;
	cds_wfcq_enqueue(&p->asked.head, &p->asked.tail, &r->node);
	sem_post(&p->work);
}

struct qb_enqueue_request *qb_enqueuers_take(struct qb_enqueuers *p)
{
	struct qb_enqueue_request *r =
		of_node(cds_wfcq_dequeue_blocking(&p->answered.head, &p->answered.tail));

	p->open_count -= r != NULL;
	return r;
}

size_t qb_enqueuers_open_count(const struct qb_enqueuers *p)
{
	return p->open_count;
}

void qb_enqueuers_stop(struct qb_enqueuers *p)
{
	if (!p)
		return;
	__atomic_store_n(&p->stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < p->threads; i++)
		sem_post(&p->work);
	for (unsigned i = 0; i < p->threads; i++)
		pthread_join(p->thread[i], NULL);
	struct queue_of_requests *both[2] = { &p->asked, &p->answered };

	for (unsigned i = 0; i < 2; i++) {
		struct qb_enqueue_request *r;

		while ((r = of_node(cds_wfcq_dequeue_blocking(&both[i]->head, &both[i]->tail))))
			free(r);
		cds_wfcq_destroy(&both[i]->head, &both[i]->tail);
	}
	sem_destroy(&p->work);
	free(p);
}
