/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/queue.h"

#include <string.h>

const struct qb_queue_ops *const qb_queues[] = { &qb_queue_shm, &qb_queue_pgtx, &qb_queue_river, &qb_queue_platlib, NULL };

const struct qb_queue_ops *qb_queue_find(const char *name)
{
	for (unsigned i = 0; qb_queues[i]; i++)
		if (strcmp(qb_queues[i]->name, name) == 0)
			return qb_queues[i];
	return NULL;
}
