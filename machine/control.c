/* The console's socket: see control.h. */
#include "machine/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* By a descriptor of the folder: a path may be longer than an address. */
static int open_socket(const char *dir, struct sockaddr_un *a, int *folder, struct err *e)
{
	*folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*folder < 0)
		return err_errno(e, "cannot open the machine's folder %s", dir);
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/control", *folder);
	return 0;
}

int control_listen(const char *dir, struct err *e)
{
	_cleanup_close_ int folder = -1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;
	int r = open_socket(dir, &a, &folder, e);

	if (r < 0)
		return r;
	unlinkat(folder, "control", 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4) < 0)
		return err_errno(e, "cannot make the console's socket in %s", dir);
	return steal_fd(&fd);
}

int control_connect(const char *dir, struct err *e)
{
	_cleanup_close_ int folder = -1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	int r = open_socket(dir, &a, &folder, e);

	if (r < 0)
		return r;
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_errno(e, "no connection to the machine's console");
	return steal_fd(&fd);
}

static void let_go(struct control *c)
{
	close(steal_fd(&c->client));
	c->out_len = 0;
}

static void flush_out(struct control *c)
{
	ssize_t n = send(c->client, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		let_go(c);
		return;
	}
	if (n <= 0)
		return;
	c->since_ms = clock_ms();
	c->out_len -= (size_t)n;
	memmove(c->out, c->out + n, c->out_len);
}

static void put(struct control *c, const char *data, size_t len)
{
	if (!c->out_len)
		c->since_ms = clock_ms();
	memcpy(c->out + c->out_len, data, len);
	c->out_len += len;
	flush_out(c);
}

static void remember(struct control *c, const char *data, size_t len)
{
	size_t drop;

	if (len >= sizeof(c->last)) {
		data += len - sizeof(c->last);
		len = sizeof(c->last);
	}
	drop = c->last_len + len > sizeof(c->last) ? c->last_len + len - sizeof(c->last) : 0;
	memmove(c->last, c->last + drop, c->last_len - drop);
	c->last_len -= drop;
	memcpy(c->last + c->last_len, data, len);
	c->last_len += len;
}

void control_output(struct control *c, const char *data, size_t len)
{
	if (c->listener < 0)
		return;
	remember(c, data, len);
	if (c->client >= 0 && !c->out_len)
		put(c, data, len);
}

bool control_taken(const struct control *c)
{
	return c->client < 0 || !c->out_len;
}

static void welcome(struct control *c)
{
	int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (c->client >= 0)
		let_go(c);
	c->client = fd;
	put(c, c->last, c->last_len);
}

void control_wants(const struct control *c, struct pollfd fds[2], bool listens)
{
	fds[0] = (struct pollfd){.fd = c->listener, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = c->client, .events = (short)((listens ? POLLIN : 0) | (c->out_len ? POLLOUT : 0))};
}

size_t control_work(struct control *c, const struct pollfd fds[2], char *typed, size_t room)
{
	ssize_t n = 0;

	if (c->client >= 0 && c->out_len && fds[1].revents)
		flush_out(c);
	if (c->client >= 0 && c->out_len && clock_ms() >= c->since_ms + CONTROL_PATIENCE_MS)
		let_go(c);
	if (c->client >= 0 && room && fds[1].revents & ~POLLOUT) {
		n = recv(c->client, typed, room, MSG_DONTWAIT);
		if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
			let_go(c);
	} else if (c->client >= 0 && fds[1].revents & (POLLHUP | POLLERR)) {
		let_go(c);
	}
	if (c->listener >= 0 && fds[0].revents)
		welcome(c);
	return n > 0 ? (size_t)n : 0;
}

int control_patience(const struct control *c)
{
	uint64_t now = clock_ms(), end = c->since_ms + CONTROL_PATIENCE_MS;

	if (control_taken(c))
		return -1;
	return end > now ? (int)(end - now) : 0;
}

void control_close(struct control *c)
{
	if (c->client >= 0)
		let_go(c);
	c->listener = -1; /* its owner's */
}
