/* The filler: see filler.h. One part is one message. The socket's buffer is small, so that who asks
 * goes as fast as the disk is read. */
#include "export/filler.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

#define PIECE                                                                                      \
	(128u << 10) /* bytes: what the kernel takes of one call at the most, whatever is asked    \
			for */
#define BUFFER 4096  /* bytes of the socket: a few messages */
#define WAIT_MS 100

struct part {
	uint64_t offset, len;
};

void filler_prepare(struct filler *f)
{
	int sockets[2], size = BUFFER;

	*f = (struct filler)FILLER_NONE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
		log_debug("nothing is read ahead into the page cache: %s", strerror(errno));
		return;
	}
	f->worker = sockets[0];
	f->own = sockets[1];
	setsockopt(f->worker, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static void read_ahead(const char *disk, const struct part *part)
{
	_cleanup_close_ int fd = open(disk, O_RDONLY | O_CLOEXEC);

	for (uint64_t at = 0; fd >= 0 && at < part->len; at += PIECE)
		if (readahead(fd, (off_t)(part->offset + at),
			    part->len - at < PIECE ? (size_t)(part->len - at) : PIECE) < 0)
			return;
}

/* What it receives comes from a process that parses what comes from outside: more than to have
 * parts of the disk read it cannot say. */
__attribute__((noreturn)) static void run(int socket, const char *disk)
{
	struct part part;
	ssize_t n;

	while ((n = recv(socket, &part, sizeof(part), 0)) > 0 || (n < 0 && errno == EINTR))
		if (n == sizeof(part))
			read_ahead(disk, &part);
	_exit(0);
}

void filler_start(struct filler *f, const char *dir)
{
	_cleanup_free_ char *disk = file_path("%s/disk", dir);
	pid_t parent = getpid();
	sigset_t none;

	if (f->own < 0 || !disk)
		return;
	fflush(NULL);
	f->pid = fork();
	if (!f->pid) {
		prctl(PR_SET_NAME, "inetboot-filler");
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGINT, SIG_IGN); /* typed on a terminal it is for the supervisor */
		signal(SIGHUP, SIG_IGN);
		if (getppid() != parent || dup2(f->own, STDIN_FILENO) < 0)
			_exit(1);
		closefrom(STDERR_FILENO + 1); /* /dev/fuse, above all */
		run(STDIN_FILENO, disk);
	}
	close(steal_fd(&f->own));
	if (f->pid < 0)
		f->pid = 0;
}

void filler_stop(struct filler *f)
{
	if (f->worker >= 0)
		close(steal_fd(&f->worker));
	if (f->own >= 0)
		close(steal_fd(&f->own));
	if (f->pid)
		kill(f->pid, SIGKILL); /* where it waits for an answer, it ends with the mount:
					  nobody waits for it */
	f->pid = 0;
}

bool filler_ask(int socket, uint64_t offset, uint64_t len)
{
	struct pollfd wait = {.fd = socket, .events = POLLOUT};
	struct part part = {.offset = offset, .len = len};

	if (send(socket, &part, sizeof(part), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN)
		return true;
	poll(&wait, 1, WAIT_MS);
	return send(socket, &part, sizeof(part), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
	       errno != EAGAIN;
}
