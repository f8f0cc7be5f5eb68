/* The files that one poll(2) waits for. One thread. */
#ifndef NETWORK_POLL_SET_H
#define NETWORK_POLL_SET_H

#include <poll.h>
#include <stddef.h>

struct poll_set {           /* initialise with {0} */
	struct pollfd *fds; /* owned */
	size_t count, room;
};

/* Its index; -1: there is no memory. */
int poll_set_add(struct poll_set *s, int fd, short events);

/* What poll() said; 0 for an index of -1. */
short poll_set_events(const struct poll_set *s, int index);

#endif
