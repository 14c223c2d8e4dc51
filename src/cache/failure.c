/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/failure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "shm/status.h"

#define RECORD_MAX (QB_ADDRESS_MESSAGE_BYTES + 32)

static char *dir_of(const char *dir)
{
	return *dir ? qb_xasprintf(QB_FAILURE_DIR "/%s", dir) : qb_xasprintf(QB_FAILURE_DIR);
}

int qb_failure_read(struct qb_store *s, const char *dir, const char *address, struct qb_failure *f, struct qb_err *err)
{
	char *where = dir_of(dir), text[RECORD_MAX + 1];
	void *data = NULL;
	size_t bytes = 0;
	int skip = 0, rc = qb_store_get_bytes(s, where, address, RECORD_MAX, &data, &bytes, NULL, err);

	*f = (struct qb_failure){ .run = 0 };
	free(where);
	if (rc <= 0)
		return rc;
	memcpy(text, data, bytes);
	text[bytes] = '\0';
	free(data);
	if (sscanf(text, "%" SCNu64 " %n", &f->run, &skip) < 1 || f->run == 0)
		return qb_err_set(err, QB_ECORRUPT, "the failure on record for %.48s cannot be read", address);
	snprintf(f->message, sizeof(f->message), "%s", text + skip);
	return 0;
}

int qb_failure_write(struct qb_store *s, const char *dir, const char *address, const struct qb_failure *f, struct qb_err *err)
{
	char *where = dir_of(dir), text[RECORD_MAX];
	int bytes = snprintf(text, sizeof(text), "%" PRIu64 " %s", f->run, f->message);
	int rc = qb_store_put_bytes(s, where, address, text, (size_t)bytes, err);

	free(where);
	return rc;
}

int qb_failure_clear(struct qb_store *s, const char *dir, const char *address, struct qb_err *err)
{
	char *where = dir_of(dir);
	int rc = qb_store_remove(s, where, address, err);

	free(where);
	return rc < 0 ? rc : 0;
}
