/* Where guests and the switch of a network meet: a Unix socket (SOCK_SEQPACKET, one Ethernet frame
 *a message) in runtime_dir(), for each network by its name:
 *
 *	network-NAME		the socket. One that nobody listens at is left by a switch that
 *ended, and replaced network-NAME.lock	held by the switch, as long as it lives network-NAME.join
 *held by who connects, while he does, and by a switch that ends: so nobody connects to one that is
 *leaving */
#ifndef NETWORK_MEETING_H
#define NETWORK_MEETING_H

#include "base/err.h"

#define NETWORK_NAME_MAX 20 /* bytes: the path must fit into a socket's address */
#define NETWORK_DEFAULT "default"

struct meeting {
	int listener, lock, join;
	char *path; /* owned: the socket's */
};

#define MEETING_INIT                                                                               \
	{                                                                                          \
		.listener = -1, .lock = -1, .join = -1                                             \
	}

/* For a switch: listens. -EADDRINUSE: a switch of that name runs. */
int meeting_open(struct meeting *m, const char *name, struct err *e);
void meeting_close(struct meeting *m);

/* The switch wants to end: 0, and nobody is connecting or can, until meeting_close() or
 * meeting_go_on(); or -EAGAIN: somebody is. Makes no files, so it works in a cage. */
int meeting_end(const struct meeting *m);
void meeting_go_on(const struct meeting *m);

/* For a guest: connects; where no switch runs, calls start(), which must return when one listens
 * (0, or -errno and e set). The socket, or -errno. */
int meeting_join(const char *name, int (*start)(const char *name, struct err *e), struct err *e);

#endif
