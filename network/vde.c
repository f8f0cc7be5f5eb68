/* A port of a vde_switch or uml_switch: see vde.h. */
#include "network/vde.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define MAGIC 0xfeedfaceU
#define VERSION 3
#define NEW_PORT 0

struct request {
	uint32_t magic, version, type;
	struct sockaddr_un data;
} __attribute__((packed)); /* uml_switch's is two bytes longer, and does not ask for them */

/* A name without a file, which goes with the socket. The switch gives the whole of the address when
 * it connects to it, so that is bound, too: with zeros behind the name. */
static int bind_data(struct vde_port *p, struct sockaddr_un *own, struct err *e)
{
	uint64_t number;

	p->data = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->data < 0 || getrandom(&number, sizeof(number), 0) != sizeof(number))
		return err_errno(e, "no socket for the frames");
	*own = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(own->sun_path + 1, sizeof(own->sun_path) - 1, "inetboot-%016llx", (unsigned long long)number);
	return bind(p->data, (struct sockaddr *)own, sizeof(*own)) < 0 ? err_errno(e, "no address for the frames") : 0;
}

/* The whole answer, from a switch that may send what it likes, or nothing. */
static int read_answer(int fd, struct sockaddr_un *theirs)
{
	uint64_t until = clock_ms() + VDE_ANSWER_MS, now;
	size_t have = 0;

	while (have < sizeof(*theirs)) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		ssize_t n;

		now = clock_ms();
		if (now >= until)
			return -ETIMEDOUT;
		if (poll(&wait, 1, (int)(until - now)) <= 0)
			continue;
		n = recv(fd, (char *)theirs + have, sizeof(*theirs) - have, 0);
		if (!n)
			return -ECONNRESET;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		have += n > 0 ? (size_t)n : 0;
	}
	return theirs->sun_family == AF_UNIX ? 0 : -EPROTO;
}

static int take_port(struct vde_port *p, const char *path, struct err *e)
{
	struct request request = {.magic = MAGIC, .version = VERSION, .type = NEW_PORT};
	struct sockaddr_un own, theirs;
	int r = bind_data(p, &own, e);

	if (r < 0)
		return r;
	request.data = own;
	if (send(p->control, &request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request))
		return err_errno(e, "the switch at %s does not listen", path);
	r = read_answer(p->control, &theirs);
	if (r < 0)
		return err_set(e, r, "the switch at %s gives us no port: %s; is it a vde_switch or a uml_switch?", path,
			strerror(-r));
	if (connect(p->data, (struct sockaddr *)&theirs, sizeof(theirs)) < 0)
		return err_errno(e, "cannot send to the switch at %s", path);
	return 0;
}

int vde_open(struct vde_port *p, const char *path, struct err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int n;

	if (stat(path, &st) < 0)
		return err_errno(e, "there is no switch at %s", path);
	n = snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", path, S_ISDIR(st.st_mode) ? "/ctl" : "");
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return err_set(e, -ENAMETOOLONG, "the path %s is too long for a socket: at most %zu bytes", path,
			sizeof(address.sun_path) - sizeof("/ctl"));
	p->control = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->control < 0 || connect(p->control, (struct sockaddr *)&address, sizeof(address)) < 0)
		return err_errno(e, "cannot connect to the switch at %s", address.sun_path);
	return take_port(p, path, e);
}

void vde_close(struct vde_port *p)
{
	cleanup_close(&p->control);
	cleanup_close(&p->data);
	*p = (struct vde_port)VDE_PORT_INIT;
}
