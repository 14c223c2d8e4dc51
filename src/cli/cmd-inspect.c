/* SPDX-License-Identifier: Apache-2.0 */
/* qbench inspect: the post-mortem of a segment, read-only. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "cli/cmd.h"
#include "cli/inspect.h"
#include "record/format.h"
#include "shm/status.h"

/* In /dev/shm/qbench-RUN, as src/run/driver.c makes it. */
#define SEGMENT_NAME "segment"

/* The first bytes of a file that was refused as a segment. Bytes read, 0 when there are none. */
static ssize_t peek(const char *path, void *head, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = qb_pread_full(fd, head, bytes, 0);
	close(fd);
	return n > 0 ? n : 0;
}

/* Which of the conditions of QB_EOWNER it was. */
static int refuse_owner(const char *path, struct qb_err *err)
{
	struct stat st;

	if (lstat(path, &st))
		return qb_err_errno(err, errno, "%s", path);
	if (S_ISLNK(st.st_mode))
		return qb_err_set(err, QB_EOWNER, "%s is a symbolic link, and a segment is never "
				  "opened through one; name the file itself", path);
	if (!S_ISREG(st.st_mode))
		return qb_err_set(err, QB_EOWNER, "%s is not a regular file; name the file of a "
				  "segment", path);
	if (st.st_uid != geteuid() && geteuid() != 0)
		return qb_err_set(err, QB_EOWNER, "%s belongs to user %u; inspect it as that user "
				  "or as root", path, (unsigned)st.st_uid);
	if (st.st_mode & 077)
		return qb_err_set(err, QB_EOWNER, "%s may be read or written by others (mode "
				  "%04o), so its content proves nothing; if you trust it, chmod "
				  "600 it first", path, (unsigned)st.st_mode & 07777);
	if (st.st_nlink > 1)
		return qb_err_set(err, QB_EOWNER, "%s has %u names, so others may hold it; copy it "
				  "(cp), then inspect the copy", path, (unsigned)st.st_nlink);
	return qb_err_set(err, QB_EOWNER, "%s: %s; try again", path, qb_strerror(QB_EOWNER));
}

static int refuse_magic(const char *path, struct qb_err *err)
{
	char head[QB_RECORD_MAGIC_BYTES];

	if (peek(path, head, sizeof(head)) == (ssize_t)sizeof(head) &&
	    !memcmp(head, QB_RECORD_MAGIC, sizeof(head)))
		return qb_err_set(err, QB_EMAGIC, "%s is the record of a run, not a segment; read "
				  "it with 'decode-events %s'", path, path);
	return qb_err_set(err, QB_EMAGIC, "%s is not a qbench segment; that of a run is "
			  "/dev/shm/qbench-RUN/segment unless --segment-dir said otherwise", path);
}

static int refuse_version(const char *path, struct qb_err *err)
{
	struct qb_header_shm head;

	if (peek(path, &head, sizeof(head)) != (ssize_t)sizeof(head))
		return qb_err_set(err, QB_EVERSION, "%s: %s", path, qb_strerror(QB_EVERSION));
	return qb_err_set(err, QB_EVERSION, "%s has layout version %u, and this qbench reads %u; "
			  "inspect it with the qbench that wrote it", path, head.major,
			  QB_LAYOUT_MAJOR);
}

void qb_inspect_refusal(const char *path, int code, struct qb_err *err)
{
	switch (code) {
	case -ENOENT:
		qb_err_set(err, code, "there is no %s; the segment of a run is "
			   "/dev/shm/qbench-RUN/segment unless --segment-dir said otherwise, and "
			   "removed at its end unless it was killed or had --keep-segment", path);
		break;
	case -EACCES:
		qb_err_set(err, code, "%s may not be opened by this user; inspect it as its owner "
			   "or as root", path);
		break;
	case QB_EOWNER:
		refuse_owner(path, err);
		break;
	case QB_EMAGIC:
		refuse_magic(path, err);
		break;
	case QB_EVERSION:
		refuse_version(path, err);
		break;
	case QB_ETOOSHORT:
		qb_err_set(err, code, "%s is shorter than its header says: it was cut, or copied "
			   "in part; copy it again, or read the record of its run instead", path);
		break;
	case QB_ENOTREADY:
		qb_err_set(err, code, "%s was never published: its creator is not done yet, or "
			   "died before any job was accepted; then it may be removed", path);
		break;
	case QB_EENDIAN:
		qb_err_set(err, code, "%s was written on a machine of the other byte order; "
			   "inspect it on one of that kind", path);
		break;
	case QB_EFEATURE:
		qb_err_set(err, code, "%s uses a feature that this qbench does not have; inspect "
			   "it with a newer one", path);
		break;
	case QB_EFINGERPRINT:
		qb_err_set(err, code, "%s was written by a build whose structures differ from this "
			   "one's; inspect it with the very qbench that wrote it", path);
		break;
	case QB_ETOOBIG:
		qb_err_set(err, code, "%s claims to be larger than the memory of this machine; a real "
			   "one lay in memory, so inspect it where it comes from", path);
		break;
	case QB_ECORRUPT:
		qb_err_set(err, code, "%s: the header names sizes or places that cannot be, so "
			   "nothing in it can be found; keep the file, it shows a bug or bad "
			   "memory", path);
		break;
	default:
		qb_err_set(err, code, "%s could not be read: %s", path, qb_strerror(code));
		break;
	}
}

/* A run keeps its segment in a directory of its own: naming that is enough. malloc'ed. */
static char *find_segment(const char *path)
{
	char *inside = qb_xasprintf("%s/%s", path, SEGMENT_NAME);
	struct stat st;

	if (!lstat(inside, &st) && S_ISREG(st.st_mode))
		return inside;
	free(inside);
	return qb_xstrdup(path);
}

static int inspect(struct qb_ctx *ctx, int argc, char **argv)
{
	char *path = find_segment(argv[0]);
	struct qb_inspect in;
	struct qb_err err = { 0 };
	int ret, status = QB_EXIT_DONE;

	(void)argc;
	ret = qb_inspect_open(&in, path, (int)ctx->opts.jobs);
	if (ret) {
		qb_inspect_refusal(path, ret, &err);
		free(path);
		qb_cli_fail(&err);
		return QB_EXIT_ERROR;
	}
	if (in.findings_count)
		status = QB_EXIT_VERIFY;
	if (!strcmp(ctx->opts.run.format, "json"))
		ret = qb_inspect_print_json(&in, stdout);
	else
		qb_inspect_print_text(&in, stdout);
	qb_inspect_close(&in);
	free(path);
	if (ret) {
		qb_err_errno(&err, -ret, "could not print the result");
		return qb_cli_fail(&err);
	}
	return status;
}

const struct qb_cmd qb_cmd_inspect = {
	.name = "inspect",
	.summary = "what survived in a segment: its jobs, its processes, its health",
	.operands = "SEGMENT",
	.about = "A SEGMENT is the file, or the directory in which a run keeps it "
		 "(/dev/shm/qbench-RUN). Read-only: it looks at a copy and changes nothing, "
		 "whether the processes of the segment live or not. Exit status 0: consistent; "
		 "2: cannot be read; 3: damaged in a way that recovery does not repair.",
	.bit = QB_CMD_INSPECT,
	.operands_min = 1,
	.operands_max = 1,
	.run = inspect,
};
