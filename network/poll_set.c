/* See poll_set.h. */
#include "network/poll_set.h"

#include <stdlib.h>

int poll_set_add(struct poll_set *s, int fd, short events)
{
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct pollfd *more = reallocarray(s->fds, room, sizeof(*more));

		if (!more)
			return -1;
		s->fds = more;
		s->room = room;
	}
	s->fds[s->count] = (struct pollfd){.fd = fd, .events = events};
	return (int)s->count++;
}

short poll_set_events(const struct poll_set *s, int index)
{
	return index < 0 || (size_t)index >= s->count ? 0 : s->fds[index].revents;
}
