/* Unix sockets: see unix_socket.h. */
#include "base/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


static int open_for(const char *path, int type, struct sockaddr_un *address)
{
	int fd;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path)) {
		errno = ENAMETOOLONG;
		return -ENAMETOOLONG;
	}
	strcpy(address->sun_path, path);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* Closing must not change what errno says. */
static int failed(int fd)
{
	int code = errno;

	close(fd);
	errno = code;
	return -code;
}

int unix_listen(const char *path, int type, int backlog)
{
	struct sockaddr_un a;
	int fd = open_for(path, type, &a);

	if (fd >= 0 && (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, backlog) < 0))
		return failed(fd);
	return fd;
}

int unix_connect(const char *path, int type)
{
	struct sockaddr_un a;
	int fd = open_for(path, type, &a);

	return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? failed(fd) : fd;
}
