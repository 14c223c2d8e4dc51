/* SPDX-License-Identifier: Apache-2.0 */
/* Where initdb and postgres are: qb_cluster_find_bindir(). */
#include <ctype.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "pg/cluster.h"
#include "pg/spawn.h"
#include "shm/status.h"

/* Set by configure's --with-postgres-bindir. */
#ifndef QB_POSTGRES_BINDIR
#define QB_POSTGRES_BINDIR ""
#endif

static const char *const programs[] = { "initdb", "postgres" };

/* The program that is missing in dir, or NULL. */
static const char *missing_in(const char *dir)
{
	size_t i;

	for (i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		char *path = qb_xasprintf("%s/%s", dir, programs[i]);
		int ret = access(path, X_OK);

		free(path);
		if (ret)
			return programs[i];
	}
	return NULL;
}

/* The first directory of $PATH that is not missing what is asked for, malloc'ed, or NULL. */
static char *search_path(const char *only)
{
	const char *p = getenv("PATH");
	char *dir;

	for (; p && *p; p += strcspn(p, ":"), p += *p == ':') {
		/* Relative entries mean something else for another working directory. */
		if (*p != '/')
			continue;
		dir = strndup(p, strcspn(p, ":"));
		if (dir && only) {
			char *path = qb_xasprintf("%s/%s", dir, only);
			int ret = access(path, X_OK);

			free(dir);
			if (!ret)
				return path;
			free(path);
		} else if (dir && !missing_in(dir)) {
			return dir;
		} else {
			free(dir);
		}
	}
	return NULL;
}

/* What pg_config says, malloc'ed, or NULL. It may belong to a client-only installation. */
static char *ask_pg_config(void)
{
	char *path = search_path("pg_config"), *answer = NULL;
	const char *const argv[] = { "pg_config", "--bindir", NULL };
	/* As ourselves: it only prints. */
	const struct qb_pg_user self = { .uid = geteuid(), .gid = getegid(), .name = "self" };
	struct qb_pg_program program = {
		.path = path, .argv = argv, .dir = "/", .death_signal = SIGKILL, .user = &self,
	};
	char text[1024];
	ssize_t n;

	if (!path)
		return NULL;
	program.out_fd = memfd_create("pg_config", MFD_CLOEXEC);
	if (program.out_fd < 0)
		goto out;
	if (qb_pg_run(&program, 5 * QB_NS_PER_S, NULL, NULL) == 0) {
		n = qb_pread_full(program.out_fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		text[strcspn(text, "\n")] = '\0';
		if (*text == '/')
			answer = qb_xstrdup(text);
	}
	close(program.out_fd);
out:
	free(path);
	return answer;
}

/* Version in "/usr/lib/postgresql/15/bin" or "/usr/pgsql-9.6/bin". */
static double version_of(const char *path)
{
	const char *p = path + strcspn(path, "0123456789");

	return isdigit((unsigned char)*p) ? strtod(p, NULL) : 0;
}

static char *search_newest(void)
{
	static const char *const patterns[] = { "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin" };
	double best_version = -1;
	char *best = NULL;
	size_t i, k;

	for (i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		glob_t found;

		if (glob(patterns[i], 0, NULL, &found))
			continue;
		for (k = 0; k < found.gl_pathc; k++) {
			const char *path = found.gl_pathv[k];

			if (version_of(path) <= best_version || missing_in(path))
				continue;
			free(best);
			best = qb_xstrdup(path);
			best_version = version_of(path);
		}
		globfree(&found);
	}
	return best;
}

int qb_cluster_find_bindir(const char *bindir, char **out, struct qb_err *err)
{
	const char *configured = QB_POSTGRES_BINDIR;
	char *dir;

	*out = NULL;
	if (bindir) {
		if (missing_in(bindir))
			return qb_err_set(err, QB_EUSAGE,
					  "no executable %s in %s: name the folder that holds "
					  "initdb and postgres, on Debian and Ubuntu "
					  "/usr/lib/postgresql/<version>/bin",
					  missing_in(bindir), bindir);
		*out = qb_xstrdup(bindir);
		return 0;
	}
	if (*configured && !missing_in(configured)) {
		*out = qb_xstrdup(configured);
		return 0;
	}
	if (*configured)
		qb_log(QB_LOG_WARNING, "no %s in %s, which configure was given; looking elsewhere",
		       missing_in(configured), configured);
	*out = search_path(NULL);
	if (*out)
		return 0;
	dir = ask_pg_config();
	if (dir && !missing_in(dir)) {
		*out = dir;
		return 0;
	}
	free(dir);
	*out = search_newest();
	if (*out)
		return 0;
	return qb_err_set(err, QB_EUSAGE,
			  "found no Postgres server programs (initdb, postgres) in PATH, where "
			  "pg_config points, or in /usr/lib/postgresql/*/bin and /usr/pgsql-*/bin; "
			  "install postgresql (Debian, Ubuntu) or postgresql-server (Fedora), or "
			  "use a running server with --postgres-url=URL");
}
