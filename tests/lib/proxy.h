/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wire that can be cut: a Unix socket in a folder of its own, whose connections go on to a server's socket, byte
 * by byte as they come, until a given byte of one direction.
 *
 * Lives in: a thread of the test, from proxy_open to proxy_close.
 * Writers and readers: one test thread calls; the proxy's thread passes bytes.
 * Progress: proxy_late_deliver and proxy_await_end wait for the server, at most ten seconds.
 */
#ifndef QB_TESTS_LIB_PROXY_H
#define QB_TESTS_LIB_PROXY_H

#include <stddef.h>
#include <stdint.h>

/* A number from the environment, "all" for as many as there are; `usual` when it is not there. */
long proxy_setting(const char *name, long usual);

/* From one point to the next in a direction of so many bytes, when about `wanted` are spread over both. At least 1. */
long proxy_stride(long bytes, long wanted);

enum proxy_dir {
	PROXY_UP,       /* client to server */
	PROXY_DOWN,
};

/* What happens when exactly so many bytes of a direction have passed. */
enum proxy_cut {
	PROXY_CLOSE,    /* both connections end at once, unread bytes with them */
	PROXY_HALF,     /* that direction ends; the other one goes on until its end */
	PROXY_STALL,    /* nothing passes any more; after 20 ms both end */
	PROXY_LATE,     /* the client's ends; what it had sent is held back until proxy_late_deliver() */
	PROXY_CUTS,
};

struct proxy;

/* folder: made for it alone, short enough for a socket. server: path of the server's socket. 0 or -errno. */
int proxy_open(const char *folder, const char *server, struct proxy **out);
void proxy_close(struct proxy *p);

/* The next connection is cut there; those after it are not. */
void proxy_arm(struct proxy *p, enum proxy_dir dir, long at_byte, enum proxy_cut cut);

/* No connection to come is cut. Was the one that was to be? */
int proxy_disarm(struct proxy *p);

/* The last connection is over: wait until both its ends are closed, then how many bytes went each way. 0 or -ETIMEDOUT. */
int proxy_await_end(struct proxy *p, long passed[2]);

/*
 * Where these bytes are in what the client sent, behind from_byte, over the connection that ended last; -1: nowhere
 * (among the first 64 KiB).
 */
long proxy_find(struct proxy *p, const void *bytes, size_t count, long from_byte);

/*
 * What a late cut held back reaches the server now, followed by the end of the connection (lost: only the end
 * does). Returns when the server has closed it too: 1; 0 when there was no such connection; -ETIMEDOUT.
 */
int proxy_late_deliver(struct proxy *p, int lost);

#endif
