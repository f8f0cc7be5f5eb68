/* The way to the display: see display_link.h. */
#include "machine/display_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/unix_socket.h"
#include "network/ethernet.h"
#include "network/uplink.h"

#define LINK_NETWORK 0xc0000200U /* 192.0.2.0 */
#define X_ADDRESS (LINK_NETWORK + 4)
#define X_PORT 6000
#define FRAMES_AT_ONCE 64
#define FILES_MAX 1024
#define WAITING 2 /* connections that were not taken yet */
#define MEMORY_MAX (256ull << 20) /* bytes: what a guest can have it keep ends here, and the link with it */

struct link_end {
	int listener, guest; /* guest: -1: nobody */
	struct uplink *uplink;
	struct poll_set set;
};

static void to_guest(void *context, const uint8_t *frame, size_t len)
{
	struct link_end *l = context;

	/* What it does not read in time is lost, as on a network. */
	if (l->guest >= 0 && send(l->guest, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("a frame for the guest's display was lost");
}

/* One guest, one connection: that may be a new one after it was switched off. */
static void take_guest(struct link_end *l)
{
	int fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	cleanup_close(&l->guest);
	l->guest = fd;
}

static void read_guest(struct link_end *l)
{
	uint8_t frame[ETHERNET_MOST];

	for (unsigned i = 0; i < FRAMES_AT_ONCE; i++) {
		ssize_t n = recv(l->guest, frame, sizeof(frame), MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			close(steal_fd(&l->guest));
			return;
		}
		if ((size_t)n <= sizeof(frame) && ethernet_valid(frame, (size_t)n))
			uplink_input(l->uplink, frame, (size_t)n);
	}
}

static void loop(struct link_end *l)
{
	for (;;) {
		int timeout = -1, guest, r;

		l->set.count = 0;
		poll_set_add(&l->set, l->listener, POLLIN);
		guest = l->guest < 0 ? -1 : poll_set_add(&l->set, l->guest, POLLIN);
		uplink_before(l->uplink, &l->set, &timeout);
		r = poll(l->set.fds, l->set.count, timeout);
		if (r < 0)
			for (size_t i = 0; i < l->set.count; i++)
				l->set.fds[i].revents = 0;
		uplink_after(l->uplink, r < 0);
		if (poll_set_events(&l->set, guest))
			read_guest(l);
		if (poll_set_events(&l->set, 0))
			take_guest(l);
	}
}

/* A root folder with the X server's socket and nothing else. Returns the socket's name in there. */
static const char *move_in(const char *dir, const char *x)
{
	_cleanup_free_ char *root = file_path("%s/link", dir), *at = root ? file_path("%s/X", root) : NULL;
	_cleanup_close_ int file = -1;

	if (!at || unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mkdir(root, 0700) < 0 ||
		mount("inetboot", root, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700,size=64k") < 0)
		return NULL;
	file = open(at, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (file < 0 || mount(x, at, NULL, MS_BIND, NULL) < 0 || chroot(root) < 0 || chdir("/") < 0)
		return NULL;
	return "/X";
}

static int confine(struct err *e)
{
	_cleanup_(sandbox_rules_free) struct sandbox_rules rules = {.unix_sockets = true, .serve = true};
	struct rlimit files = {.rlim_cur = FILES_MAX, .rlim_max = FILES_MAX}, memory = {.rlim_cur = MEMORY_MAX, .rlim_max = MEMORY_MAX};

	if (!SANITIZED)
		setrlimit(RLIMIT_DATA, &memory);
	setrlimit(RLIMIT_NOFILE, &files);
	return sandbox_enter(&rules, e);
}

__attribute__((noreturn)) static void run(int listener, const char *dir, const char *x, bool isolated)
{
	struct link_end l = {.listener = listener, .guest = -1};
	const char *inside = isolated ? move_in(dir, x) : NULL;
	struct err e = ERR_INIT;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "inetboot-screen");
	setsid();
	signal(SIGINT, SIG_IGN);
	if (!inside)
		log_debug("the display's link sees all files' names: it has no folder of its own");
	if (uplink_open_at(&l.uplink, LINK_NETWORK, true, to_guest, &l, &e) < 0 ||
		uplink_unix(l.uplink, inside ? inside : x, X_ADDRESS, X_PORT, &e) < 0 || confine(&e) < 0) {
		log_error("%s", e.text);
		_exit(1);
	}
	loop(&l);
	_exit(0);
}

pid_t display_link_start(const char *dir, unsigned number, bool isolated, int messages, struct err *e)
{
	_cleanup_free_ char *x = file_path("/tmp/.X11-unix/X%u", number), *path = file_path("%s/display", dir);
	_cleanup_close_ int listener = path ? unix_listen(path, SOCK_SEQPACKET | SOCK_NONBLOCK, WAITING) : -1;
	pid_t pid;

	if (listener < 0 || !x) {
		err_errno(e, "cannot make the way to the display, %s/display", dir);
		return -1;
	}
	fflush(NULL);
	pid = fork();
	if (!pid) {
		log_to(messages);
		run(steal_fd(&listener), dir, x, isolated);
	}
	if (pid < 0)
		err_errno(e, "cannot start the way to the display");
	return pid;
}
