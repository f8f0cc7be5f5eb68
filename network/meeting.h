/* Where guests and the switch of a network meet: a Unix socket (SOCK_SEQPACKET, one Ethernet frame a
 * message). Each network has a folder of its own, runtime_dir()/network-NAME, which is never removed. A
 * guest gets the folder and not the socket in it: so it finds the switch that is there now, whichever
 * was there when it started. In the folder there is:
 *
 *	socket	one at which nobody listens was left by a switch that ended, and is replaced
 *	lock	held by the switch, as long as it lives
 *	join	shared by the machines of the network, as long as they live: a switch on demand ends
 *		when it can have it alone
 *	start	held by a machine that joins: two of them do not start two switches
 */
#ifndef NETWORK_MEETING_H
#define NETWORK_MEETING_H

#include <sys/types.h>

#include "base/err.h"

#define NETWORK_NAME_MAX 20 /* bytes: the path must fit into a socket's address */
#define NETWORK_DEFAULT "default"
#define NETWORK_SOCKET "socket" /* in the folder */

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

/* The switch wants to end: 0, and nobody is in the network or can join it, until meeting_close() or
 * meeting_go_on(); or -EAGAIN: somebody is. Makes no files, so it works in a cage. */
int meeting_end(const struct meeting *m);
void meeting_go_on(const struct meeting *m);

/* A guest's connection is handed to the switch by somebody who keeps it open, too: so the guest does not see it end with the switch, which
 * its kernel may not survive, and the next switch gets it again. name: the guest's, or "". Returns the connection over which it went,
 * which ends with the switch, and is the caller's to close; or -errno. */
int meeting_hand_over(const char *socket, int guest, const char *name);

/* For a switch: the first message of a connection. Where it hands a guest over, *guest is that connection, the caller's to close, and the message
 * its name; else -1, and the message is a frame. Its length (more than size where it is longer), 0 at the end, or -errno. */
ssize_t meeting_first(int connection, void *message, size_t size, int *guest);

struct membership {
	char *folder; /* owned: to NETWORK_SOCKET in it the guest connects, again whenever it
		       * switches its network on */
	int lock;     /* closed on exec */
};

#define MEMBERSHIP_INIT                                                                            \
	{                                                                                          \
		.folder = NULL, .lock = -1                                                         \
	}

/* For a machine: a switch on demand stays until membership_end(). Where none runs, calls start(),
 * which must return when one listens: 0, or -errno and e set. After a failure, too,
 * membership_end() is to be called. */
int meeting_join(struct membership *m, const char *name,
	int (*start)(const char *name, struct err *e), struct err *e);
void membership_end(struct membership *m);

#endif
