/* QMP: see qmp.h. */
#include "machine/qmp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define TEXT_MAX 256
#define DRAIN_MAX (1u << 20) /* bytes at once */

/* What it said, so that it can say more. */
static void drain(int fd)
{
	char text[4096];
	size_t total = 0;
	ssize_t n;

	while (total < DRAIN_MAX && (n = recv(fd, text, sizeof(text), MSG_DONTWAIT)) > 0)
		total += (size_t)n;
}

/* It takes commands once capabilities were spoken of; that again is an error, and no more. */
int qmp_command(int fd, const char *command, struct err *e)
{
	char text[TEXT_MAX];
	int len = snprintf(text, sizeof(text),
		"{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"%s\"}\n", command);

	drain(fd);
	if (send(fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
		return err_errno(e, "QEMU takes no commands");
	return 0;
}
