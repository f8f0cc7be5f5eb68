/* The sockets of the loop: see sockets.h. */
#include "fetch/sockets.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

union local_address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* The number of the socket behind a descriptor; 0: there is none. */
static uint64_t socket_id(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISSOCK(st.st_mode) ? st.st_ino : 0;
}

int sockets_open(struct sockets *s, int family, int type, int protocol)
{
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);

	for (size_t i = 0; i < SOCKETS_MAX && fd >= 0; i++) {
		if (s->list[i].id)
			continue;
		s->list[i].fd = fd;
		s->list[i].id = socket_id(fd);
		break;
	}
	return fd;
}

int sockets_close(void *sockets, int fd)
{
	struct sockets *s = sockets;

	for (size_t i = 0; i < SOCKETS_MAX; i++)
		if (s->list[i].fd == fd)
			s->list[i].id = 0;
	return close(fd);
}

static bool is_loopback(const union local_address *a)
{
	if (a->any.sa_family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

/* Does this machine still have an address? When in doubt, it does. */
static bool is_ours(union local_address address)
{
	int fd = socket(address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool gone;

	if (fd < 0)
		return true;
	if (address.any.sa_family == AF_INET)
		address.in.sin_port = 0;
	else
		address.in6.sin6_port = 0;
	gone = bind(fd, &address.any, sizeof(address)) < 0 && errno == EADDRNOTAVAIL;
	close(fd);
	return !gone;
}

static bool in_use(int fd, const union local_address *local, const int *used, size_t used_count)
{
	int port = ntohs(local->any.sa_family == AF_INET ? local->in.sin_port : local->in6.sin6_port);
	union local_address peer;
	socklen_t len = sizeof(peer);

	if (getpeername(fd, &peer.any, &len) < 0)
		return true; /* being made */
	for (size_t i = 0; i < used_count; i++)
		if (used[i] == port)
			return true;
	return false;
}

void sockets_network_changed(struct sockets *s, const int *used, size_t used_count, bool all)
{
	for (size_t i = 0; i < SOCKETS_MAX; i++) {
		int fd = s->list[i].fd;
		union local_address local;
		socklen_t len = sizeof(local);

		if (!s->list[i].id || s->list[i].id != socket_id(fd) || getsockname(fd, &local.any, &len) < 0)
			continue;
		if (!all && is_loopback(&local))
			continue;
		if (!in_use(fd, &local, used, used_count) || !is_ours(local))
			shutdown(fd, SHUT_RDWR);
	}
}
