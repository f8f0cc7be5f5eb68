/* Passing an open file with a message through a Unix socket. */
#ifndef BASE_PASSING_H
#define BASE_PASSING_H

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

union passing_room { /* for one file descriptor */
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

/* Sends len bytes (at least one) and fd. flags: of sendmsg(). 0 or -errno; errno is set, too. */
static inline int passing_send(int socket, const void *data, size_t len, int fd, int flags)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	union passing_room control = {0};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
	return sendmsg(socket, &message, MSG_NOSIGNAL | flags) < 0 ? -errno : 0;
}

/* Receives up to len bytes and a file, closed on exec; *fd is -1 where none came. flags: of recvmsg(). The number of bytes, 0 at the end,
 * or -errno; -EMSGSIZE for a message that is longer. */
static inline ssize_t passing_receive(int socket, void *data, size_t len, int *fd, int flags)
{
	struct iovec iov = {.iov_base = data, .iov_len = len};
	union passing_room control = {0};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int))}; /* no room for a second one */
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && errno == EINTR);
	if (n >= 0 && message.msg_controllen >= CMSG_LEN(sizeof(int)) && control.head.cmsg_level == SOL_SOCKET &&
		control.head.cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(&control.head), sizeof(int));
	if (n >= 0 && message.msg_flags & MSG_TRUNC) {
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		return -EMSGSIZE;
	}
	return n < 0 ? -errno : n;
}

#endif
