/* inetboot stop, inetboot kill: the ends of named machines. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/machines.h"
#include "machine/named.h"

#define STOP_MS 90000 /* more than a machine gives its guest */
#define KILL_MS 5000  /* for a machine to end its guest; then it is ended itself */

static const char stop_help[] = "Usage: inetboot stop NAME...\n\n"
				"Shuts running machines down in order, and waits for that. What they wrote is kept.\n"
				"A guest that has not shut down after a minute is ended.\n\n"
				"  --help  this text\n";
static const char kill_help[] = "Usage: inetboot kill NAME...\n\n"
				"Ends running machines at once, as if their power was cut. What they wrote to their disk is kept.\n\n"
				"  --help  this text\n";

/* The process that runs a machine. It may end and its number be another's at any time: so we hold the process, and look again. */
static int hold(const char *name, int *fd, struct err *e)
{
	pid_t pid, again = 0;
	int r = named_find(name, &pid, e);

	if (r < 0)
		return r;
	*fd = pid ? pidfd_open(pid, 0) : -1;
	if (*fd >= 0)
		r = named_find(name, &again, e);
	if (*fd < 0 || r < 0 || again != pid)
		return err_set(e, -ESRCH, "the machine %s does not run", name);
	return 0;
}

static int wait_for_end(int fd, int limit_ms)
{
	struct pollfd ended = {.fd = fd, .events = POLLIN};
	uint64_t end = clock_ms() + (uint64_t)limit_ms, now;
	int r = 0;

	while (r <= 0 && (now = clock_ms()) < end)
		r = poll(&ended, 1, (int)(end - now));
	return r > 0 ? 0 : -ETIMEDOUT;
}

static int stop(const char *name, struct err *e)
{
	_cleanup_close_ int fd = -1;
	int r = hold(name, &fd, e);

	if (r < 0)
		return r;
	if (pidfd_send_signal(fd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		return err_errno(e, "cannot ask the machine %s to shut down", name);
	log_info("%s is shutting down", name);
	if (wait_for_end(fd, STOP_MS) < 0)
		return err_set(e, -ETIMEDOUT, "the machine %s does not end: `inetboot kill %s` ends it", name, name);
	log_info("%s is down", name);
	return 0;
}

/* The first signal asks for the end, the second ends the guest. */
static int kill_it(const char *name, struct err *e)
{
	_cleanup_close_ int fd = -1;
	int r = hold(name, &fd, e);

	if (r < 0)
		return r;
	pidfd_send_signal(fd, SIGTERM, NULL, 0);
	pidfd_send_signal(fd, SIGINT, NULL, 0);
	if (wait_for_end(fd, KILL_MS) < 0)
		pidfd_send_signal(fd, SIGKILL, NULL, 0);
	if (wait_for_end(fd, KILL_MS) < 0)
		return err_set(e, -ETIMEDOUT, "the machine %s does not end: something that it waits for in the kernel hangs", name);
	log_info("%s was ended", name);
	return 0;
}

static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};

int cmd_stop(int argc, char **argv)
{
	return cli_machines(argc, argv, options, stop_help, stop);
}

int cmd_kill(int argc, char **argv)
{
	return cli_machines(argc, argv, options, kill_help, kill_it);
}
