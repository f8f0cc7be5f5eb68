/* The bridge and its wires: see bridge.h. */
#include "machine/bridge.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/unix_socket.h"
#include "network/meeting.h"
#include "network/vde.h"

#define FRAMES_AT_ONCE 64 /* of one side, before the other has its turn */
#define WAITING 4	  /* connections that were not taken yet */
#define REST_MS 300	  /* until a switch is looked for again */

#define LISTENER_FD 3 /* in the bridge; it has no other files of the machine's */

enum { GUEST, SWITCH, CONTROL };

struct frame {
	uint8_t bytes[BRIDGE_FRAME_MOST + 1]; /* one more: a frame that fills it is too long */
	size_t len;
};

struct wire {
	int guest, data;
	struct frame out, in;
	bool held; /* out waits for the switch */
};

/* 1: a frame; 0: there is none now; -1: the other side is gone, for good. */
static int receive(struct frame *f, int fd)
{
	ssize_t n;

	do {
		n = recv(fd, f->bytes, sizeof(f->bytes), MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	f->len = (size_t)n;
	return 1;
}

static bool may_pass(const struct frame *f)
{
	return f->len >= BRIDGE_FRAME_LEAST && f->len <= BRIDGE_FRAME_MOST;
}

/* To the switch, or it is held. False: the switch is gone. */
static bool send_out(struct wire *w)
{
	ssize_t n = send(w->data, w->out.bytes, w->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

	w->held = n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS);
	return n >= 0 || w->held || errno == EMSGSIZE;
}

/* False: one side is gone. */
static bool from_guest(struct wire *w)
{
	if (w->held)
		return false; /* frames were not asked for, so this is its end */
	for (int i = 0; i < FRAMES_AT_ONCE && !w->held; i++) {
		int r = receive(&w->out, w->guest);

		if (r <= 0 || !w->out.len) /* no frame is empty: a stream that ended is */
			return !r;
		if (may_pass(&w->out) && !send_out(w))
			return false;
	}
	return true;
}

static bool from_switch(struct wire *w)
{
	for (int i = 0; i < FRAMES_AT_ONCE; i++) {
		int r = receive(&w->in, w->data);

		if (r <= 0)
			return !r;
		if (may_pass(&w->in) && send(w->guest, w->in.bytes, w->in.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE)
			return false;
	}
	return true;
}

/* Until one side ends. The switch says nothing more on its control connection: bytes there are its end, too. */
static void move_frames(struct wire *w, int control)
{
	struct pollfd fds[] = {[GUEST] = {.fd = w->guest}, [SWITCH] = {.fd = w->data}, [CONTROL] = {.fd = control, .events = POLLIN}};
	bool go_on = true;

	while (go_on) {
		fds[GUEST].events = w->held ? 0 : POLLIN;
		fds[SWITCH].events = (short)(POLLIN | (w->held ? POLLOUT : 0));
		if (poll(fds, 3, -1) < 0)
			continue;
		go_on = !fds[CONTROL].revents && (!w->held || send_out(w)) && (!fds[SWITCH].revents || from_switch(w)) &&
			(!fds[GUEST].revents || from_guest(w));
	}
}

__attribute__((noreturn)) static void run_wire(int guest, const char *vde)
{
	struct vde_port port = VDE_PORT_INIT;
	struct sandbox_rules rules = {0};
	struct err e = ERR_INIT;
	struct wire w = {.guest = guest};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "inetboot-wire");
	if (vde_open(&port, vde, &e) < 0 || sandbox_enter(&rules, &e) < 0) {
		log_debug("the guest is not connected: %s", e.text);
		_exit(1);
	}
	w.data = port.data;
	move_frames(&w, port.control);
	_exit(0);
}

/* Until the switch ends or the guest does. */
static void connect_to_vde(int guest, const char *vde)
{
	pid_t wire = fork();

	if (!wire)
		run_wire(guest, vde);
	while (wire > 0 && waitpid(wire, NULL, 0) < 0 && errno == EINTR)
		;
}

static void connect_to_ours(int guest, const struct bridge_switch *to)
{
	_cleanup_close_ int holder = meeting_hand_over(to->socket, guest, to->name);
	struct pollfd fds[] = {{.fd = guest}, {.fd = holder, .events = POLLIN}};

	while (holder >= 0 && poll(fds, 2, -1) < 0)
		;
}

static bool is_gone(int guest)
{
	struct pollfd wait = {.fd = guest};

	return poll(&wait, 1, REST_MS) > 0;
}

__attribute__((noreturn)) static void run_bridge(int listener, const struct bridge_switch *to)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "inetboot-bridge");
	dup2(listener, LISTENER_FD);
	close_range(LISTENER_FD + 1, ~0U, 0);
	setsid(); /* what is typed to end the guest must not end its network first */
	for (;;) {
		_cleanup_close_ int guest = accept4(LISTENER_FD, NULL, NULL, SOCK_CLOEXEC);

		if (guest < 0) {
			usleep(REST_MS * 1000);
			continue;
		}
		do {
			if (to->vde)
				connect_to_vde(guest, to->vde);
			else
				connect_to_ours(guest, to);
		} while (!is_gone(guest));
	}
}

static int try_vde(const char *vde, struct err *e)
{
	struct vde_port port = VDE_PORT_INIT;
	int r = vde_open(&port, vde, e);

	vde_close(&port);
	return r;
}

int bridge_start(const char *path, const struct bridge_switch *to, int messages, pid_t *pid, struct err *e)
{
	_cleanup_close_ int listener = -1;
	int r = to->vde ? try_vde(to->vde, e) : 0;

	if (r < 0)
		return r;
	listener = unix_listen(path, SOCK_SEQPACKET, WAITING);
	if (listener < 0)
		return err_errno(e, "cannot listen at %s", path);
	fflush(NULL);
	*pid = fork();
	if (!*pid) {
		log_to(messages);
		run_bridge(listener, to);
	}
	return *pid < 0 ? err_errno(e, "cannot start the bridge to the switch") : 0;
}

void bridge_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
