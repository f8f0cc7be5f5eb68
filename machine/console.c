/* The guest's console: see console.h. */
#include "machine/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"

#define SHOW_PIECE 256 /* bytes: a terminal that poll() calls writable takes this many without waiting */

int console_open(struct console *c, bool show, const char *log_path, struct err *e)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};

	*c = (struct console){.master = -1, .slave = -1, .log = -1, .show = show};
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	if (openpty(&c->master, &c->slave, NULL, NULL, &size) < 0)
		return err_errno(e, "no pseudo terminal for the guest's console");
	fcntl(c->master, F_SETFD, FD_CLOEXEC);
	fcntl(c->slave, F_SETFD, FD_CLOEXEC);
	fcntl(c->master, F_SETFL, O_NONBLOCK);
	if (log_path) {
		c->log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
		if (c->log < 0) {
			err_errno(e, "cannot write the console to %s", log_path);
			console_close(c);
			return e ? e->code : -EIO;
		}
	}
	return 0;
}

void console_take_terminal(struct console *c)
{
	struct termios raw;

	if (!c->show || tcgetattr(STDIN_FILENO, &c->saved) < 0)
		return;
	raw = c->saved;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* our own messages end in plain newlines */
	c->raw = !tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

void console_show(struct console *c)
{
	while (c->said_len) {
		struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
		ssize_t n;

		if (poll(&out, 1, 0) <= 0)
			return;
		n = write(STDOUT_FILENO, c->said, c->said_len < SHOW_PIECE ? c->said_len : SHOW_PIECE);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			c->show = false;
			n = (ssize_t)c->said_len;
		}
		c->said_len -= (size_t)n;
		memmove(c->said, c->said + n, c->said_len);
	}
}

bool console_shown(const struct console *c)
{
	return !c->said_len;
}

static void keep(struct console *c, const char *data, size_t len)
{
	c->logged += len;
	/* A full disk must not stop the guest, nor a guest fill the disk. */
	if (c->log >= 0 && (c->logged > CONSOLE_LOG_MAX || file_write(c->log, data, len) < 0)) {
		dprintf(c->log, "\n[inetboot: no more of the console is kept]\n");
		close(c->log);
		c->log = -1;
	}
}

int console_read(struct console *c, char data[CONSOLE_PIECE])
{
	ssize_t n = read(c->master, data, CONSOLE_PIECE);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (c->show) {
		memcpy(c->said, data, (size_t)n);
		c->said_len = (size_t)n;
		console_show(c);
	}
	keep(c, data, (size_t)n);
	return (int)n;
}

bool console_listens(const struct console *c)
{
	return c->show && !c->input_ended && (c->raw || !c->typed_len);
}

bool console_typed(const struct console *c)
{
	return c->typed_len;
}

void console_pass_on(struct console *c)
{
	ssize_t n = write(c->master, c->typed, c->typed_len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		n = (ssize_t)c->typed_len; /* nobody will take it any more */
	c->typed_len -= (size_t)n;
	memmove(c->typed, c->typed + n, c->typed_len);
}

size_t console_room(const struct console *c)
{
	return sizeof(c->typed) - c->typed_len;
}

void console_put(struct console *c, const char *typed, size_t len)
{
	memcpy(c->typed + c->typed_len, typed, len);
	c->typed_len += len;
	console_pass_on(c);
}

int console_type(struct console *c)
{
	char typed[sizeof(c->typed)];
	ssize_t n = read(STDIN_FILENO, typed, sizeof(typed));
	int escapes = 0;

	if (n <= 0) {
		c->input_ended = n == 0 || (errno != EAGAIN && errno != EINTR);
		return 0;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (c->raw && typed[i] == CONSOLE_ESCAPE)
			escapes++;
		else if (c->typed_len < sizeof(c->typed))
			c->typed[c->typed_len++] = typed[i];
	}
	if (c->typed_len)
		console_pass_on(c);
	return escapes;
}

void console_resize(struct console *c)
{
	struct winsize size;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size))
		ioctl(c->master, TIOCSWINSZ, &size);
}

void console_close(struct console *c)
{
	if (c->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &c->saved);
	if (c->master >= 0)
		close(c->master);
	if (c->slave >= 0)
		close(c->slave);
	if (c->log >= 0)
		close(c->log);
	*c = (struct console){.master = -1, .slave = -1, .log = -1};
}
