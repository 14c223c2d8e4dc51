/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a store; flush. */
#include "cache/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strbuf.h"
#include "cache/storage-parts.h"
#include "shm/fault.h"
#include "shm/status.h"

#define CHUNK_BYTES 65536u
#define CHUNK_WAIT_NS (5 * QB_NS_PER_S)

int qb_store_open(const char *root, const struct qb_store_config *cfg, struct qb_store **out, struct qb_err *err)
{
	int rc = qb_mkdir_p(root, 0700, err);

	if (rc < 0)
		return rc;
	QB_FAULT("store.open.after-mkdir");
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return qb_err_errno(err, errno, "could not open the store %.300s", root);
	struct qb_store *s = qb_xcalloc(1, sizeof(*s));

	s->root = qb_xstrdup(root);
	s->fd = fd;
	if (cfg)
		s->cfg = *cfg;
	if (s->cfg.chunk_bytes == 0)
		s->cfg.chunk_bytes = CHUNK_BYTES;
	if (s->cfg.chunk_wait_ns == 0)
		s->cfg.chunk_wait_ns = CHUNK_WAIT_NS;
	qb_store_sweep(s);
	*out = s;
	return 0;
}

void qb_store_close(struct qb_store *s)
{
	if (!s)
		return;
	close(s->fd);
	free(s->root);
	free(s);
}

const char *qb_store_root(const struct qb_store *s)
{
	return s->root;
}

uint32_t qb_store_swept(const struct qb_store *s)
{
	return s->swept;
}

/* Giving a file to its own owner changes nothing, and makes NFS ask the server for its attributes. */
int qb_store_flush(struct qb_store *s, const char *dir, const char *address, struct qb_err *err)
{
	struct qb_place p;
	struct stat st;
	int rc = qb_place_open(s, dir, address, 0, &p, err);

	if (rc <= 0)
		return rc;
	rc = 0;
	if (fstatat(qb_place_dir(&p), address, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    fchownat(qb_place_dir(&p), address, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
		rc = errno == ENOENT ? 0 : qb_place_fail(&p, errno, "flush", err);
	qb_place_close(&p);
	return rc;
}
