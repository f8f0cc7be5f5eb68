/* Starting a switch: see start_switch.h. */
#include "cli/start_switch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

int cli_start_switch(const char *network, struct err *e)
{
	char *argv[] = {"inetboot", "--quiet", "switch", "--network", (char *)network, "--on-demand", "--detach", NULL};
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_errno(e, "cannot start the network's switch");
	if (!pid) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
		execv("/proc/self/exe", argv);
		_exit(EXIT_FAILED);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(e, "cannot start the network's switch");
	return status ? err_set(e, -EIO, "the network's switch does not start") : 0;
}
