/* inetboot console: at the console of a machine that runs. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "machine/console.h"
#include "machine/control.h"
#include "machine/named.h"

static const char help[] = "Usage: inetboot console NAME\n\n"
			   "Shows the console of a machine that runs, from what it said last, and types there. Ctrl-] leaves it; the machine goes on.\n"
			   "One at a time: who comes later gets it.\n\n"
			   "  --help  this text\n";

static int take_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : signalfd(-1, &set, SFD_CLOEXEC);
}

/* Until the machine ends the connection, a signal, or Ctrl-]. Returns 1 where it was the machine. */
static int be_there(struct console *c, int signals)
{
	struct pollfd fds[3] = {{.fd = c->master}, {.fd = signals, .events = POLLIN}, {.events = POLLIN}};
	char data[CONSOLE_PIECE];
	ssize_t n;

	for (;;) {
		fds[0].events = (short)(POLLIN | (console_typed(c) ? POLLOUT : 0));
		fds[2].fd = console_listens(c) ? STDIN_FILENO : -1;
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			return 0;
		if (fds[0].revents & POLLOUT)
			console_pass_on(c);
		if (fds[0].revents & ~POLLOUT) {
			n = recv(c->master, data, sizeof(data), MSG_DONTWAIT);
			if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
				return 1;
			if (n > 0 && file_write(STDOUT_FILENO, data, (size_t)n) < 0)
				return 0;
		}
		if (fds[2].fd >= 0 && fds[2].revents && console_type(c))
			return 0;
	}
}

static int visit(const char *name, struct err *e)
{
	_cleanup_free_ char *dir = named_dir(name, e);
	_cleanup_close_ int fd = -1, signals = -1;
	struct console c = {.slave = -1, .log = -1, .show = true};
	pid_t pid;
	int r = dir ? named_find(name, &pid, e) : -EINVAL;

	if (r < 0)
		return r;
	if (!pid)
		return err_set(e, -ESRCH, "the machine %s does not run: `inetboot boot --name %s` starts it", name, name);
	fd = control_connect(dir, e);
	signals = take_signals();
	if (fd < 0 || signals < 0)
		return fd < 0 ? fd : err_set(e, signals, "cannot take signals");
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (isatty(STDIN_FILENO))
		log_info("at the console of %s; Ctrl-] leaves it", name);
	c.master = steal_fd(&fd);
	console_take_terminal(&c);
	r = be_there(&c, signals);
	console_close(&c);
	if (r > 0)
		log_info(named_pid(dir) == pid ? "somebody else is at the console of %s now, or what it said was not taken" : "%s has ended", name);
	return r < 0 ? err_set(e, r, "the console of %s is gone", name) : 0;
}

int cmd_console(int argc, char **argv)
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
	struct err e = ERR_INIT;
	int code;

	code = cli_flags(argc, argv, options, help);
	if (code >= 0)
		return code;
	if (argc - optind != 1)
		return cli_usage("console", "exactly one machine's name is needed: `inetboot ps` lists them");
	return visit(argv[optind], &e) < 0 ? cli_fail(&e) : EXIT_OK;
}
