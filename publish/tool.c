/* Other programs and temporary folders: see tool.h. The janitor is a child that reads from a pipe
 * whose other end only this process has: it wakes when that is closed, by workspace_close() or by
 * any death. */
#include "publish/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

#define CANCEL_CHECK_MS 200 /* between looks */

void tool_args(struct tool *t, const char *const *more)
{
	size_t at = 0;

	while (t->argv[at])
		at++;
	while (*more && at < TOOL_ARGS_MAX - 1)
		t->argv[at++] = *more++;
	t->argv[at] = NULL;
}

/* PATH with the folders that an ordinary user's may lack, and where mkfs programs are. */
static void child_environment(const struct tool *t)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *full = file_path(
		"%s:/usr/local/sbin:/usr/sbin:/sbin", path && *path ? path : "/usr/bin:/bin");

	if (full)
		setenv("PATH", full, 1);
	setenv("LC_ALL", "C", 1);
	for (size_t i = 0; i < sizeof(t->env) / sizeof(*t->env) && t->env[i]; i++)
		putenv((char *)t->env[i]);
}

/* What the child reads. */
static int open_input(const char *text)
{
	int fd = text ? memfd_create("input", MFD_CLOEXEC) : open("/dev/null", O_RDONLY);

	if (fd >= 0 && text && file_pwrite(fd, text, strlen(text), 0) < 0)
		return -1;
	return fd;
}

_Noreturn static void run_child(const struct tool *t, pid_t parent, int out, int errors)
{
	int in = open_input(t->input);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0); /* with all that it starts */
	if (getppid() != parent || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
		dup2(errors, 2) < 0)
		_exit(126);
	signal(SIGPIPE, SIG_DFL);
	child_environment(t);
	execvp(t->argv[0], (char *const *)t->argv);
	_exit(errno == ENOENT ? 127 : 126);
}

/* group: ends this process group where that is asked for; 0: none. The signal that asks may come just before we wait, or while the
 * child still has our handler for it: so it is looked for, and the group told, again and again. */
static int wait_for(pid_t pid, pid_t group)
{
	_cleanup_close_ int ended = pidfd_open(pid, 0);
	struct pollfd wait = {.fd = ended, .events = POLLIN};
	int status;

	for (;;) {
		pid_t r = waitpid(pid, &status, WNOHANG);

		if (r == pid)
			return status;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (group && cancel_requested())
			kill(-group, SIGTERM);
		poll(&wait, 1, CANCEL_CHECK_MS);
	}
}

static int load_memory_file(int fd, struct buf *out)
{
	off_t size = lseek(fd, 0, SEEK_END);
	int r = size < 0 ? -errno : buf_reserve(out, (size_t)size + 1);

	if (r < 0)
		return r;
	r = file_pread(fd, out->data + out->len, (size_t)size, 0);
	if (!r)
		out->len += (size_t)size;
	out->data[out->len] = 0;
	return r;
}

/* The last line that says something, in place. */
static const char *last_line(struct buf *text)
{
	char *start;

	if (!text->data)
		return "";
	for (;;) {
		while (text->len && strchr("\n\r ", text->data[text->len - 1]))
			text->data[--text->len] = 0;
		start = strrchr((char *)text->data, '\n');
		start = start ? start + 1 : (char *)text->data;
		if (start == (char *)text->data || !strstr(start, "due to previous errors"))
			return start;
		text->len = (size_t)(start - (char *)text->data); /* how tar ends */
	}
}

static int judge(const struct tool *t, int status, int errors, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(1u << 20);
	const char *line;

	if (status < 0)
		return err_set(e, status, "cannot run %s: %s", t->argv[0], strerror(-status));
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	if (cancel_requested())
		return err_set(e, -EINTR, "interrupted");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return err_set(e, -ENOENT, "%s is missing: install the package %s", t->argv[0],
			t->package);
	load_memory_file(errors, &text);
	line = last_line(&text);
	if (WIFSIGNALED(status))
		return err_set(e, -EIO, "%s was killed by signal %d", t->argv[0], WTERMSIG(status));
	return err_set(e, -EIO, "%s failed: %s", t->argv[0], *line ? line : "it does not say why");
}

int tool_run(const struct tool *t, struct err *e)
{
	_cleanup_close_ int out = memfd_create("output", MFD_CLOEXEC),
			    errors = memfd_create("errors", MFD_CLOEXEC);
	pid_t parent = getpid(), pid;
	int r;

	if (out < 0 || errors < 0)
		return err_errno(e, "cannot make a file in memory");
	if (cancel_requested())
		return err_set(e, -EINTR, "interrupted");
	pid = fork();
	if (pid < 0)
		return err_errno(e, "cannot start %s", t->argv[0]);
	if (!pid)
		run_child(t, parent, out, errors);
	setpgid(pid, pid); /* whoever comes first */
	r = judge(t, wait_for(pid, pid), errors, e);
	if (!r && t->output)
		r = load_memory_file(out, t->output);
	return r;
}

_Noreturn static void run_janitor(int until, const char *path)
{
	/* What a tree may hold that its owner cannot remove: folders that he may not write to, and, where mmdebstrap made them, files of
	 * his subordinate users. */
	static const char script[] =
		"exec </dev/null >/dev/null 2>&1; chmod -R u+rwX \"$1\"; rm -rf \"$1\" || { mmdebstrap --unshare-helper rm -rf \"$1\"/*; rm -rf \"$1\"; }";
	char byte;

	for (int i = 1; i < 32; i++)
		signal(i, SIG_IGN);
	while (read(until, &byte, 1) < 0 && errno == EINTR)
		;
	for (int i = 1; i < 32; i++)
		signal(i, SIG_DFL);
	setsid();
	execl("/bin/sh", "sh", "-c", script, "sh", path, NULL);
	_exit(1);
}

/* The janitor starts before there is anything to remove: so there is no moment at which a kill
 * leaves the folder. */
static int start_janitor(struct workspace *w, struct err *e)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_errno(e, "cannot make a pipe");
	w->janitor = fork();
	if (!w->janitor) {
		/* All but its end of the pipe: it must not hold locks, nor a pipe that somebody
		 * reads to its end. */
		if (dup2(ends[0], 3) < 0)
			_exit(1);
		close_range(4, ~0u, 0);
		for (int i = 0; i < 3; i++)
			close(i);
		run_janitor(3, w->path);
	}
	close(ends[0]);
	w->keep_open = ends[1];
	return w->janitor < 0 ? err_errno(e, "cannot start a process") : 0;
}

int workspace_open(struct workspace *w, struct err *e)
{
	const char *base = getenv("TMPDIR");
	uint8_t random[8];
	char name[2 * sizeof(random) + 1];
	int r;

	*w = (struct workspace)WORKSPACE_INIT;
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_errno(e, "no random numbers");
	hex_encode(name, random, sizeof(random));
	/* Not /tmp: disks are large, and /tmp may be memory. */
	w->path = file_path("%s/inetboot-publish.%s", base && *base ? base : "/var/tmp", name);
	if (!w->path)
		return err_set(e, -ENOMEM, "no memory for a path");
	r = start_janitor(w, e);
	if (!r && mkdir(w->path, 0700) < 0)
		r = err_errno(e, "cannot make a temporary folder %s", w->path);
	if (r < 0)
		workspace_close(w);
	return r;
}

int folder_needs(const char *dir, uint64_t bytes, const char *advice, struct err *e)
{
	char need[TEXT_SIZE_MAX], have[TEXT_SIZE_MAX];
	struct statvfs st;
	uint64_t left;

	if (statvfs(dir, &st) < 0)
		return err_errno(e, "cannot look at %s", dir);
	left = (uint64_t)st.f_bavail * st.f_frsize;
	if (left >= bytes)
		return 0;
	text_size(need, bytes);
	text_size(have, left);
	return err_set(e, -ENOSPC, "%s are needed below %s, which has %s free: %s", need, dir, have,
		advice);
}

int workspace_needs(const struct workspace *w, uint64_t bytes, struct err *e)
{
	return folder_needs(w->path, bytes, "set TMPDIR to another place", e);
}

void workspace_close(struct workspace *w)
{
	if (w->keep_open >= 0)
		close(w->keep_open);
	if (w->janitor > 0)
		wait_for(w->janitor, 0);
	free(w->path);
	*w = (struct workspace)WORKSPACE_INIT;
}
