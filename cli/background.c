/* Going into the background: see background.h. */
#include "cli/background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"

static int fail(void)
{
	struct err e = ERR_INIT;

	err_errno(&e, "cannot go into the background");
	return cli_fail(&e);
}

int background_start(struct background *b)
{
	int fds[2], status;
	char byte;

	*b = (struct background){.ready_fd = -1};
	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail();
	fflush(NULL);
	b->pid = fork();
	if (b->pid < 0)
		return fail();
	if (!b->pid) {
		close(fds[0]);
		setsid();
		b->ready_fd = fds[1];
		return -1;
	}
	close(fds[1]);
	if (file_read(fds[0], &byte, 1) == 1)
		return EXIT_OK;
	while (waitpid(b->pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAILED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}

static void let_go(const char *log_path)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int log = log_path ? open(log_path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY) : -1;
	struct stat st;

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (log >= 0)
		dup2(log, STDERR_FILENO);
	else if (fstat(STDERR_FILENO, &st) < 0 || !S_ISREG(st.st_mode))
		dup2(null, STDERR_FILENO);
}

void background_ready(struct background *b, const char *log_path)
{
	if (b->ready_fd < 0)
		return;
	let_go(log_path);
	if (file_write(b->ready_fd, "", 1) < 0)
		log_debug("nobody waits for us");
	close(b->ready_fd);
	b->ready_fd = -1;
}
