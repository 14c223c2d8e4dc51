/* SPDX-License-Identifier: Apache-2.0 */
/* What others ask of a worker, from a thread of their own: pause, resume, cancel. Two bounded lists and an eventfd. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "queue/river-tables.h"

struct qb_river_control {
	pthread_mutex_t lock;
	int fd;
	unsigned pauses_count, cancels_count, pauses_from, cancels_from;
	bool pauses[RIVER_CONTROL_CHAN_MAX];
	int64_t cancels[RIVER_CANCEL_CHAN_MAX];
};

int qb_river_control_open(struct qb_river_control **out, struct qb_err *err)
{
	struct qb_river_control *c = qb_xcalloc(1, sizeof(*c));

	pthread_mutex_init(&c->lock, NULL);
	c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->fd < 0) {
		int errnum = errno;

		free(c);
		return qb_err_errno(err, errnum, "could not make an eventfd");
	}
	*out = c;
	return 0;
}

void qb_river_control_close(struct qb_river_control *c)
{
	if (!c)
		return;
	close(c->fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int qb_river_control_fd(const struct qb_river_control *c)
{
	return c->fd;
}

static void ring(struct qb_river_control *c)
{
	uint64_t one = 1;

	(void)!write(c->fd, &one, sizeof(one));
}

void qb_river_set_paused(struct qb_river_control *c, const char *queue, bool paused)
{
	if (strcmp(queue, RIVER_ALL_QUEUES) != 0 && strcmp(queue, RIVER_QUEUE) != 0)
		return;
	pthread_mutex_lock(&c->lock);
	bool fits = c->pauses_count < RIVER_CONTROL_CHAN_MAX;

	if (fits)
		c->pauses[(c->pauses_from + c->pauses_count++) % RIVER_CONTROL_CHAN_MAX] = paused;
	pthread_mutex_unlock(&c->lock);
	if (!fits)
		qb_log(QB_LOG_WARNING, "river: a %s was dropped, too many of them wait", paused ? "pause" : "resume");
	ring(c);
}

void qb_river_cancel(struct qb_river_control *c, const char *queue, int64_t id)
{
	if (strcmp(queue, RIVER_QUEUE) != 0)
		return;
	pthread_mutex_lock(&c->lock);
	bool fits = c->cancels_count < RIVER_CANCEL_CHAN_MAX;

	if (fits)
		c->cancels[(c->cancels_from + c->cancels_count++) % RIVER_CANCEL_CHAN_MAX] = id;
	pthread_mutex_unlock(&c->lock);
	if (!fits)
		qb_log(QB_LOG_WARNING, "river: the cancellation of row %lld was dropped, too many of them wait", (long long)id);
	ring(c);
}

void qb_river_control_quiet(struct qb_river_control *c)
{
	uint64_t rings;

	(void)!read(c->fd, &rings, sizeof(rings));
}

int qb_river_control_take(struct qb_river_control *c, int64_t *id, bool *paused)
{
	int got = 1;

	pthread_mutex_lock(&c->lock);
	if (c->pauses_count) {
		*id = 0;
		*paused = c->pauses[c->pauses_from];
		c->pauses_from = (c->pauses_from + 1) % RIVER_CONTROL_CHAN_MAX;
		c->pauses_count--;
	} else if (c->cancels_count) {
		*id = c->cancels[c->cancels_from];
		c->cancels_from = (c->cancels_from + 1) % RIVER_CANCEL_CHAN_MAX;
		c->cancels_count--;
	} else {
		got = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return got;
}
