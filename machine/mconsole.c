/* The UML management console's protocol: see mconsole.h. */
#include "machine/mconsole.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MCONSOLE_MAGIC 0xcafebabe
#define MCONSOLE_VERSION 2
#define MCONSOLE_DATA 512 /* bytes of text in a datagram, both ways */

struct request {
	uint32_t magic, version, len;
	char text[MCONSOLE_DATA];
};

struct reply {
	uint32_t error, more, len;
	char text[MCONSOLE_DATA];
};

int mconsole_command(const char *socket_path, const char *command, int timeout_ms, struct err *e)
{
	struct sockaddr_un own = {.sun_family = AF_UNIX}, guest = {.sun_family = AF_UNIX};
	struct request rq = {.magic = MCONSOLE_MAGIC, .version = MCONSOLE_VERSION};
	struct reply reply = {0};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (strlen(socket_path) >= sizeof(guest.sun_path) || strlen(command) >= sizeof(rq.text))
		return err_set(e, -ENAMETOOLONG, "%s is too long for a socket's path", socket_path);
	strcpy(guest.sun_path, socket_path);
	strcpy(rq.text, command);
	rq.len = (uint32_t)strlen(command);
	/* Binding to no name gives one that nobody can guess: the answer comes there. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof(own.sun_family)) < 0)
		return err_errno(e, "no socket to reach the guest");
	if (sendto(fd, &rq, offsetof(struct request, text) + rq.len + 1, 0, (struct sockaddr *)&guest, sizeof(guest)) < 0)
		return err_errno(e, "cannot reach the guest by %s", socket_path);
	if (poll(&wait, 1, timeout_ms) <= 0)
		return err_set(e, -ETIMEDOUT, "the guest does not answer on %s", socket_path);
	n = recv(fd, &reply, sizeof(reply), 0);
	if (n < (ssize_t)offsetof(struct reply, text))
		return err_set(e, -EPROTO, "the guest's answer on %s makes no sense", socket_path);
	if (reply.error)
		return err_set(e, -EREMOTEIO, "the guest refused '%s': %.*s", command, (int)sizeof(reply.text) - 1, reply.text);
	return 0;
}
