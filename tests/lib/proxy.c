/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/proxy.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define SESSIONS 8
#define STALL_NS (20 * QB_NS_PER_MS)
#define LATE_BYTES_MAX (1u << 20)
#define SAID_BYTES_MAX 65536
#define WAIT_NS (10 * QB_NS_PER_S)

struct session {
	int fd[2];              /* fd[dir]: where its bytes come from; -1: no session */
	int over[2];            /* nothing comes from there any more */
	long passed[2];
	int armed;
	uint64_t stalled_until_ns;
	char said[SAID_BYTES_MAX];              /* by the client */
};

struct proxy {
	int listener, wake, quit;
	struct sockaddr_un server, own;
	pthread_t thread;
	pthread_mutex_t lock;
	struct session session[SESSIONS];       /* the thread's own */
	/* Under the lock. */
	int armed, was_cut;
	enum proxy_dir dir;
	long at_byte;
	enum proxy_cut cut;
	unsigned begun, ended;
	long passed[2];                         /* of the last one that ended */
	char said[SAID_BYTES_MAX];
	int late_fd;
	size_t late_bytes;
	char late[LATE_BYTES_MAX];
};

static int address(struct sockaddr_un *a, const char *folder, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(a->sun_path, sizeof(a->sun_path), "%s%s", folder, name);

	return n < 0 || (size_t)n >= sizeof(a->sun_path) ? -ENAMETOOLONG : 0;
}

/* All of it, or the connection is over. */
static int pass(int fd, const char *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = send(fd, data, bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		data += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static void end(struct proxy *p, struct session *s)
{
	for (int dir = 0; dir < 2; dir++) {
		if (s->fd[dir] >= 0)
			close(s->fd[dir]);
		s->fd[dir] = -1;
	}
	pthread_mutex_lock(&p->lock);
	p->ended++;
	memcpy(p->passed, s->passed, sizeof(p->passed));
	memcpy(p->said, s->said, sizeof(p->said));
	pthread_mutex_unlock(&p->lock);
}

static void begin(struct proxy *p)
{
	int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
	struct session *s = p->session;

	if (client < 0)
		return;
	while (s < p->session + SESSIONS && s->fd[0] >= 0)
		s++;
	int server = s < p->session + SESSIONS ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;

	if (server < 0 || connect(server, (struct sockaddr *)&p->server, sizeof(p->server)) < 0) {
		close(client);
		if (server >= 0)
			close(server);
		return;
	}
	*s = (struct session){ .fd = { client, server } };
	pthread_mutex_lock(&p->lock);
	p->begun++;
	s->armed = p->armed;
	p->armed = 0;
	pthread_mutex_unlock(&p->lock);
}

/* The client is gone, its bytes are not. */
static void go_late(struct proxy *p, struct session *s, const char *rest, size_t bytes)
{
	memcpy(p->late, rest, bytes);
	for (;;) {
		ssize_t n = recv(s->fd[PROXY_UP], p->late + bytes, LATE_BYTES_MAX - bytes, MSG_DONTWAIT);

		if (n <= 0)
			break;
		bytes += (size_t)n;
	}
	pthread_mutex_lock(&p->lock);
	p->late_bytes = bytes;
	p->late_fd = s->fd[PROXY_DOWN];
	pthread_mutex_unlock(&p->lock);
	s->fd[PROXY_DOWN] = -1;
	end(p, s);
}

static void cut(struct proxy *p, struct session *s, enum proxy_dir dir, const char *rest, size_t bytes)
{
	s->armed = 0;
	pthread_mutex_lock(&p->lock);
	p->was_cut = 1;
	pthread_mutex_unlock(&p->lock);
	switch (p->cut) {
	case PROXY_HALF:
		s->over[dir] = 1;
		shutdown(s->fd[!dir], SHUT_WR);
		break;
	case PROXY_STALL:
		s->stalled_until_ns = qb_now_ns() + STALL_NS;
		break;
	case PROXY_LATE:
		go_late(p, s, rest, dir == PROXY_UP ? bytes : 0);
		break;
	default:
		end(p, s);
		break;
	}
}

static void come(struct proxy *p, struct session *s, enum proxy_dir dir)
{
	char data[16384];
	ssize_t n = recv(s->fd[dir], data, sizeof(data), 0);

	if (n <= 0) {
		/* Both ends see it at once, as with a process that died. */
		end(p, s);
		return;
	}
	long fits = s->armed && p->dir == dir ? p->at_byte - s->passed[dir] : n;

	if (fits > n)
		fits = n;
	if (pass(s->fd[!dir], data, (size_t)fits) < 0) {
		end(p, s);
		return;
	}
	if (dir == PROXY_UP && s->passed[dir] + fits <= SAID_BYTES_MAX)
		memcpy(s->said + s->passed[dir], data, (size_t)fits);
	s->passed[dir] += fits;
	if (s->armed && p->dir == dir && s->passed[dir] == p->at_byte)
		cut(p, s, dir, data + fits, (size_t)(n - fits));
}

/* The first byte of nothing: a connection that is cut before anything has passed. */
static void cut_at_once(struct proxy *p)
{
	for (struct session *s = p->session; s < p->session + SESSIONS; s++) {
		if (s->fd[0] >= 0 && s->armed && p->at_byte == 0)
			cut(p, s, p->dir, NULL, 0);
	}
}

static void turn(struct proxy *p)
{
	struct pollfd fds[2 + 2 * SESSIONS] = {
		{ .fd = p->listener, .events = POLLIN }, { .fd = p->wake, .events = POLLIN },
	};
	int stalled = 0;

	for (int i = 0; i < SESSIONS; i++) {
		const struct session *s = &p->session[i];

		for (int dir = 0; dir < 2; dir++)
			fds[2 + 2 * i + dir] = (struct pollfd){
				.fd = s->over[dir] || s->stalled_until_ns ? -1 : s->fd[dir], .events = POLLIN,
			};
		stalled |= s->fd[0] >= 0 && s->stalled_until_ns;
	}
	if (poll(fds, 2 + 2 * SESSIONS, stalled ? 2 : -1) < 0)
		return;
	for (int i = 0; i < SESSIONS; i++) {
		struct session *s = &p->session[i];

		if (s->fd[0] >= 0 && s->stalled_until_ns && qb_now_ns() >= s->stalled_until_ns)
			end(p, s);
		for (int dir = 0; dir < 2; dir++) {
			if (s->fd[0] >= 0 && fds[2 + 2 * i + dir].revents && !s->stalled_until_ns && !s->over[dir])
				come(p, s, (enum proxy_dir)dir);
		}
	}
	if (fds[0].revents)
		begin(p);
	cut_at_once(p);
}

static void *run(void *opaque)
{
	struct proxy *p = opaque;

	while (!__atomic_load_n(&p->quit, __ATOMIC_ACQUIRE))
		turn(p);
	for (struct session *s = p->session; s < p->session + SESSIONS; s++) {
		if (s->fd[0] >= 0)
			end(p, s);
	}
	return NULL;
}

int proxy_open(const char *folder, const char *server, struct proxy **out)
{
	struct proxy *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	for (int i = 0; i < SESSIONS; i++)
		p->session[i].fd[0] = p->session[i].fd[1] = -1;
	p->late_fd = -1;
	pthread_mutex_init(&p->lock, NULL);
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	p->wake = eventfd(0, EFD_CLOEXEC);
	if (address(&p->own, folder, "/.s.PGSQL.5432") < 0 || address(&p->server, server, "") < 0 || p->listener < 0 ||
	    p->wake < 0 || bind(p->listener, (struct sockaddr *)&p->own, sizeof(p->own)) < 0 ||
	    listen(p->listener, 8) < 0) {
		int rc = errno ? -errno : -ENAMETOOLONG;

		close(p->listener);
		close(p->wake);
		free(p);
		return rc;
	}
	int rc = -pthread_create(&p->thread, NULL, run, p);

	if (rc == 0)
		*out = p;
	return rc;
}

void proxy_close(struct proxy *p)
{
	uint64_t one = 1;

	__atomic_store_n(&p->quit, 1, __ATOMIC_RELEASE);
	(void)!write(p->wake, &one, sizeof(one));
	pthread_join(p->thread, NULL);
	if (p->late_fd >= 0)
		close(p->late_fd);
	close(p->listener);
	close(p->wake);
	unlink(p->own.sun_path);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void proxy_arm(struct proxy *p, enum proxy_dir dir, long at_byte, enum proxy_cut cut_kind)
{
	pthread_mutex_lock(&p->lock);
	p->armed = 1;
	p->was_cut = 0;
	p->dir = dir;
	p->at_byte = at_byte;
	p->cut = cut_kind;
	pthread_mutex_unlock(&p->lock);
}

int proxy_disarm(struct proxy *p)
{
	pthread_mutex_lock(&p->lock);
	int was_cut = p->was_cut;

	p->armed = 0;
	pthread_mutex_unlock(&p->lock);
	return was_cut;
}

int proxy_await_end(struct proxy *p, long passed[2])
{
	uint64_t until_ns = qb_now_ns() + WAIT_NS;
	int all_over = 0;

	while (!all_over) {
		if (qb_now_ns() > until_ns)
			return -ETIMEDOUT;
		pthread_mutex_lock(&p->lock);
		all_over = p->begun == p->ended;
		memcpy(passed, p->passed, sizeof(p->passed));
		pthread_mutex_unlock(&p->lock);
		if (!all_over)
			qb_sleep_ns(QB_NS_PER_MS / 10);
	}
	return 0;
}

long proxy_find(struct proxy *p, const void *bytes, size_t count, long from_byte)
{
	pthread_mutex_lock(&p->lock);
	size_t end = p->passed[PROXY_UP] < SAID_BYTES_MAX ? (size_t)p->passed[PROXY_UP] : SAID_BYTES_MAX;
	const char *at = (size_t)from_byte < end ? memmem(p->said + from_byte, end - (size_t)from_byte, bytes, count) : NULL;
	long where = at ? at - p->said : -1;

	pthread_mutex_unlock(&p->lock);
	return where;
}

int proxy_late_deliver(struct proxy *p, int lost)
{
	char answer[16384];
	int rc = 1;

	pthread_mutex_lock(&p->lock);
	int fd = p->late_fd;
	size_t bytes = p->late_bytes;

	p->late_fd = -1;
	p->late_bytes = 0;
	pthread_mutex_unlock(&p->lock);
	if (fd < 0)
		return 0;
	if (!lost)
		pass(fd, p->late, bytes);
	shutdown(fd, SHUT_WR);
	/* The server answers, and closes when it has come to the end of what it was sent. */
	while (rc > 0) {
		struct pollfd one = { .fd = fd, .events = POLLIN };

		rc = poll(&one, 1, (int)(WAIT_NS / QB_NS_PER_MS));
		if (rc > 0 && recv(fd, answer, sizeof(answer), 0) <= 0)
			break;
	}
	close(fd);
	return rc > 0 ? 1 : -ETIMEDOUT;
}

long proxy_setting(const char *name, long usual)
{
	const char *text = getenv(name);

	return !text || !*text ? usual : !strcmp(text, "all") ? LONG_MAX : atol(text);
}

long proxy_stride(long bytes, long wanted)
{
	long stride = 2 * (bytes + 1) / wanted;

	return stride < 1 ? 1 : stride;
}
