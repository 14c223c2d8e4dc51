/* SPDX-License-Identifier: Apache-2.0 */
/* qbench list: what can be run here. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "cli/cmd.h"
#include "pg/cluster.h"
#include "queue/queue.h"
#include "shm/status.h"
#include "workload/scenario.h"

#define ANSWER_NS (10 * QB_NS_PER_S)

extern char **environ;

static void list_libraries(void)
{
	const struct qb_queue_option *o;
	size_t i;

	printf("Libraries (--lib)\n");
	for (i = 0; qb_queues[i]; i++) {
		printf("  %-26s %s\n", qb_queues[i]->name, qb_queues[i]->summary);
		for (o = qb_queues[i]->options; o && o->name; o++)
			printf("      :%s=%s  %s\n", o->name, o->preset, o->help);
		if (qb_queues[i]->enqueue_unique)
			printf("      takes unique keys\n");
		if (qb_queues[i]->addressed)
			printf("      fills a cache\n");
	}
}

static int list_scenarios(struct qb_err *err)
{
	const char *const *names = qb_scenario_names();
	struct qb_scenario sc;
	char duration[24];

	printf("\nScenarios (--scenario)\n  %-26s %9s %7s %8s %6s\n", "", "duration", "rate",
	       "workers", "kills");
	for (; *names; names++) {
		if (qb_scenario_load(*names, &sc, err))
			return err->code;
		unsigned workers = sc.workers ? sc.workers : QB_SCENARIO_WORKERS_DEFAULT;

		if (sc.shape == QB_SHAPE_KEYS)
			printf("  %-26s %4u keys by %2u processes %3u %6u\n", *names, sc.keys.keys, sc.keys.processes,
			       workers, sc.keys.keys);
		else if (sc.shape == QB_SHAPE_CACHE)
			printf("  %-26s %4u callers in %2u processes %2u %6u\n", *names, sc.cache.processes * sc.cache.callers,
			       sc.cache.processes, workers, sc.cache.kills);
		else
			printf("  %-26s %9s %5u/s %8u %6u\n", *names,
			       qb_format_duration(duration, sizeof(duration), sc.duration_ns), sc.rate, workers,
			       sc.faults.kills);
		if (qb_scenario_alias(*names))
			printf("      another name of %s\n", qb_scenario_alias(*names));
		else
			printf("      %s\n", sc.summary);
	}
	return 0;
}

/* What a child writes until it ends, within the time; cut at cap - 1 bytes. 0, or negative. */
static int read_answer(int fd, char *buf, size_t cap)
{
	uint64_t now = qb_now_ns(), deadline = now + ANSWER_NS;
	size_t used = 0;

	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		ssize_t n;

		now = qb_now_ns();
		if (now >= deadline)
			return QB_ETIMEOUT;
		n = poll(&pfd, 1, (int)((deadline - now) / QB_NS_PER_MS) + 1);
		if (n > 0) {
			n = read(fd, buf + used, cap - 1 - used);
			if (n > 0)
				used += (size_t)n;
			if (n == 0 || used == cap - 1)
				break;
		}
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	buf[used] = '\0';
	return 0;
}

/* The line that "PROGRAM --version" prints. */
static int ask_version(char *program, char *buf, size_t cap)
{
	char option[] = "--version", *args[] = { program, option, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], status, ret;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	ret = -posix_spawn_file_actions_init(&actions);
	if (!ret)
		ret = -posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	if (!ret)
		ret = -posix_spawn(&pid, program, &actions, NULL, args, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (ret) {
		close(ends[0]);
		return ret;
	}
	ret = read_answer(ends[0], buf, cap);
	close(ends[0]);
	if (ret)
		qb_child_kill(pid);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ret && (!WIFEXITED(status) || WEXITSTATUS(status)))
		ret = QB_ECHILD;
	buf[ret ? 0 : strcspn(buf, "\n")] = '\0';
	return ret;
}

/* "QBENCH_POSTGRES_URL names a server". Static storage. */
static const char *server_variable(void)
{
	const struct qb_opt *opt = qb_opt_find(&qb_cmd_run, "postgres-url", 12);
	static char text[96];
	size_t i;

	for (i = 0; i < 2; i++) {
		const char *value = getenv(opt->env[i]);

		if (value && *value) {
			snprintf(text, sizeof(text), "%s names a server", opt->env[i]);
			return text;
		}
	}
	return "no server";
}

static void list_postgres(void)
{
	struct qb_err err = { 0 };
	char version[160] = "", *bindir, *program;
	int ret;

	printf("\nPostgres\n");
	ret = qb_cluster_find_bindir(NULL, &bindir, &err);
	if (ret) {
		printf("  private server             no: %s\n", err.text);
	} else {
		program = qb_xasprintf("%s/postgres", bindir);
		ret = ask_version(program, version, sizeof(version));
		printf("  private server             %s\n      %s\n",
		       ret ? qb_strerror(ret) : version, bindir);
		free(program);
		free(bindir);
	}
	printf("  in the environment         %s\n", server_variable());
}

static int list(struct qb_ctx *ctx, int argc, char **argv)
{
	struct qb_err err = { 0 };

	(void)ctx;
	(void)argc;
	(void)argv;
	list_libraries();
	if (list_scenarios(&err))
		return qb_cli_fail(&err);
	list_postgres();
	return QB_EXIT_DONE;
}

const struct qb_cmd qb_cmd_list = {
	.name = "list",
	.summary = "libraries, scenarios, and which Postgres is installed",
	.operands = "",
	.bit = QB_CMD_LIST,
	.run = list,
};
