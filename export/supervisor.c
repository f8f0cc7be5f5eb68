/* The supervisor of a mount: see image_mount.h. One thread, so that it may fork; one loop over signals, the worker's socket and the one
 * for hand-overs. States of the worker:
 *
 *	none → opening → (WORKER_OPENED: it gets the device, which is mounted for the first one) → (WORKER_READY) serving → none
 *
 * A worker that dies is followed by another: at once where it had answered something and was killed, else after a pause that doubles.
 * Before the first one serves nobody depends on it: its message ends the mount, and so does dying FIRST_TRIES times.
 *
 * The end comes by a signal, by unmounting (a worker sees that and ends well; while none serves, we look), or by what no next worker can
 * mend. A worker that serves gets GRACE_MS to end in order. */
#include "export/image_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "disk/unpacked.h"
#include "export/filler.h"
#include "export/handover.h"
#include "export/mountpoint.h"
#include "export/passthrough.h"
#include "export/slots.h"
#include "export/worker.h"

#define FIRST_TRIES 10
#define MESSAGES_AT_ONCE 16 /* of a worker's, before signals are looked at again */
#define PAUSE_LEAST_MS 20
#define PAUSE_MOST_MS 5000
#define PAUSE_KILLED_MS 500
#define KILLED_AFTER_MS 1000 /* who has not answered anything in that time had nothing to answer */
#define LIVED_MS 10000 /* who dies of itself after that long did not die of what it began with */
#define GRACE_MS 10000
#define LOOK_MS 1000 /* is it still mounted, while nobody serves? */

enum phase { NONE, OPENING, SERVING };

struct supervisor {
	const struct image_mount *m;
	struct slots *slots;
	struct mountpoint mount;
	struct handover *handover; /* NULL: none */
	struct filler filler;
	int signals, listener;

	enum phase phase;
	pid_t worker;
	int socket;
	bool silent; /* its end of the socket is closed */
	uint64_t started_ms, served; /* of this worker; answers in the slots when it began */
	struct worker_message last;  /* what it said when it failed; word 0: nothing */

	bool pinned, ready; /* by a worker, once */
	bool registered; /* a file of the worker's: tried, once */
	uint32_t answered; /* which worker was told what became of it */
	uint32_t workers;
	unsigned failures; /* since one has done something */
	uint64_t again_ms; /* when to start another one; clock_ms() */
	char reason[256];  /* why the one before ended */

	bool ending, over, killed;
	uint64_t kill_ms;  /* when the one that is to end gets no more time */
	int by_signal;
	struct err failure; /* with code 0: a good end */
};

static void fail(struct supervisor *s, const struct err *e)
{
	s->failure = *e;
	s->over = true;
}

static sigset_t taken_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
	return set;
}

/* ---- workers ---- */

static void start_worker(struct supervisor *s)
{
	struct worker w = {.mount = s->m, .slots = s->slots, .filler = s->filler.worker, .number = s->workers + 1, .pinned = s->pinned, .reason = s->reason};
	pid_t self = getpid();
	int sockets[2];

	s->again_ms = clock_ms() + PAUSE_MOST_MS; /* if it cannot be started */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
		log_error("cannot start a process that serves the disk: %s", strerror(errno));
		return;
	}
	fflush(NULL);
	s->worker = fork();
	if (!s->worker) {
		w.socket = sockets[1];
		worker_run(&w, self);
	}
	close(sockets[1]);
	if (s->worker < 0) {
		log_error("cannot start a process that serves the disk: %s", strerror(errno));
		close(sockets[0]);
		s->worker = 0;
		return;
	}
	s->socket = sockets[0];
	s->workers++;
	s->phase = OPENING;
	s->silent = false;
	s->started_ms = clock_ms();
	s->served = slots_served(s->slots);
	s->last = (struct worker_message){0};
}

/* killed: it may be no fault of its own. */
static void pause_before_next(struct supervisor *s, bool quick, bool killed)
{
	uint64_t pause = 0, most = killed ? PAUSE_KILLED_MS : PAUSE_MOST_MS;

	s->failures = quick ? 0 : s->failures + 1;
	if (s->failures > 1)
		pause = s->failures > 9 ? most : (uint64_t)PAUSE_LEAST_MS << (s->failures - 2);
	s->again_ms = clock_ms() + (pause < most ? pause : most);
}

static void describe_end(struct supervisor *s, int status)
{
	if (s->last.word == WORKER_FAILED)
		snprintf(s->reason, sizeof(s->reason), "%.*s", (int)sizeof(s->reason) - 1, s->last.text);
	else if (WIFSIGNALED(status))
		snprintf(s->reason, sizeof(s->reason), "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(s->reason, sizeof(s->reason), "ended with status %d", WEXITSTATUS(status));
	text_clean(s->reason);
}

/* The end, and not for a fault of its own: was it a good one? Somebody else may kill it just then. */
static void end_well(struct supervisor *s, int status)
{
	s->over = true;
	if (!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || s->phase != SERVING || s->failure.code)
		return;
	describe_end(s, status);
	err_set(&s->failure, -EIO, "the process that served it did not end well: %s", s->reason);
}

/* It was not asked to end. */
static void follow(struct supervisor *s, pid_t pid, int status)
{
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	bool served = slots_served(s->slots) != s->served;
	uint64_t lived = clock_ms() - s->started_ms;
	struct err e = ERR_INIT;

	describe_end(s, status);
	if (s->ready && mountpoint_gone(&s->mount)) {
		end_well(s, status);
		return;
	}
	if (s->last.word == WORKER_FAILED && (!s->ready || s->last.code == -ESTALE)) {
		err_set(&e, s->last.code < 0 ? s->last.code : -EIO, "%s", s->last.text);
		fail(s, &e);
		return;
	}
	pause_before_next(s, (killed && (served || lived >= KILLED_AFTER_MS)) || lived >= LIVED_MS, killed);
	if (!s->ready && s->failures >= FIRST_TRIES) {
		err_set(&e, -EIO, "the process that serves it ended %d times before it could (%s)", FIRST_TRIES, s->reason);
		fail(s, &e);
		return;
	}
	log_warning("the process that serves %s (%ld): %s; starting another one", s->m->dir, (long)pid, s->reason);
	if (s->last.word == WORKER_FAILED && s->handover) {
		err_set(&e, -EIO, "it does not serve yet, and goes on trying: %s", s->reason);
		handover_answer(&s->handover->client, &e);
	}
}

/* A message whose file, if there is one, is of no interest. */
static int receive(struct supervisor *s, struct worker_message *out)
{
	_cleanup_close_ int fd = -1;

	return worker_receive(s->socket, out, &fd);
}

static void reap(struct supervisor *s)
{
	pid_t pid = s->worker;
	int status;

	if (!pid || waitpid(pid, &status, WNOHANG) != pid)
		return;
	while (!s->last.word && !receive(s, &s->last) && s->last.word != WORKER_FAILED)
		s->last.word = 0; /* only its last word counts now */
	close(steal_fd(&s->socket));
	s->worker = 0;
	if (s->ending)
		end_well(s, status);
	else
		follow(s, pid, status);
	s->phase = NONE;
}

static void kill_worker(struct supervisor *s)
{
	int status;

	if (!s->worker)
		return;
	kill(s->worker, SIGKILL);
	while (waitpid(s->worker, &status, 0) < 0 && errno == EINTR)
		;
	close(steal_fd(&s->socket));
	s->worker = 0;
	s->phase = NONE;
}

/* ---- what it says ---- */

static int mount_it(struct supervisor *s, struct err *e)
{
	int r = mountpoint_open(&s->mount, s->m->dir, s->m->allow_other, e);

	if (r < 0)
		return r;
	if (s->m->bulk)
		mountpoint_raise_readahead(&s->mount);
	return 0;
}

static void opened(struct supervisor *s)
{
	struct err e = ERR_INIT;

	s->pinned = true;
	if (s->mount.device < 0 && mount_it(s, &e) < 0) {
		fail(s, &e);
		return;
	}
	if (worker_send_file(s->socket, s->mount.device) < 0)
		log_debug("the process that serves the disk does not listen");
}

/* From now on there is somebody who depends on the mount. */
static void settle(struct supervisor *s)
{
	s->ready = true;
	if (s->m->options->play)
		filler_start(&s->filler, s->mount.dir);
	if (mountpoint_needs_no_help(&s->mount))
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!s->handover)
		return;
	s->listener = handover_listen(s->mount.number);
	if (s->listener < 0)
		log_debug("no socket for --replace: %s", strerror(-s->listener));
}

static void serving_first(struct supervisor *s)
{
	_cleanup_free_ char *report = slots_text(s->slots, SLOTS_REPORT, NULL);

	settle(s);
	if (s->m->ready)
		s->m->ready(s->m->context, report ? report : "");
	/* We may have gone into the background with that. */
	worker_send_file(s->socket, STDERR_FILENO);
}

static void serving(struct supervisor *s)
{
	s->phase = SERVING;
	if (!s->ready)
		serving_first(s);
	if (s->handover && s->handover->client >= 0) {
		log_info("%s is served by inetboot %s now", s->m->dir, INETBOOT_VERSION);
		handover_answer(&s->handover->client, NULL);
	}
}

/* It has a file that the kernel may read by itself. That is tried once, whatever a worker says. */
static void register_file(struct supervisor *s, int fd)
{
	int32_t number;

	if (s->answered == s->workers)
		return;
	s->answered = s->workers;
	number = s->registered || !unpacked_is_one(fd, s->m->options) ? -EPERM : passthrough_register(s->mount.device, fd);

	s->registered = true;
	if (number < 0)
		log_debug("the kernel does not read the unpacked image by itself: %s", strerror(-number));
	if (!slots_passthrough(s->slots))
		slots_set_passthrough(s->slots, number > 0 ? number : SLOTS_NO_PASSTHROUGH);
	worker_send_word(s->socket, SUPERVISOR_DECIDED);
}

static void hear(struct supervisor *s, const struct worker_message *m, int fd)
{
	if (m->word == WORKER_OPENED && s->phase == OPENING)
		opened(s);
	else if (m->word == WORKER_READY && s->phase == OPENING && s->mount.device >= 0)
		serving(s);
	else if (m->word == WORKER_FILE && s->phase == SERVING)
		register_file(s, fd);
	else if (m->word == WORKER_FAILED)
		s->last = *m;
}

static void listen_to_worker(struct supervisor *s)
{
	struct worker_message m;
	int fd;

	for (int i = 0; i < MESSAGES_AT_ONCE && !s->over && !s->ending && s->worker && !worker_receive(s->socket, &m, &fd); i++) {
		hear(s, &m, fd);
		if (fd >= 0)
			close(fd);
	}
}

/* ---- the end ---- */

static void begin_end(struct supervisor *s)
{
	s->ending = true;
	s->kill_ms = clock_ms() + GRACE_MS;
	if (!s->worker) {
		s->over = true;
	} else if (s->phase == SERVING) {
		shutdown(s->socket, SHUT_WR);
	} else {
		s->killed = true;
		kill(s->worker, SIGKILL);
	}
}

static void end_late_worker(struct supervisor *s)
{
	if (!s->ending || !s->worker || s->killed || clock_ms() < s->kill_ms)
		return;
	log_warning("the process that serves %s does not end: killing it", s->m->dir);
	s->killed = true;
	kill(s->worker, SIGKILL);
}

static void read_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1 && s->phase == SERVING)
			worker_send_word(s->socket, SUPERVISOR_TOGGLE_FILL);
		if (info.ssi_signo == SIGCHLD || info.ssi_signo == SIGUSR1 || s->ending)
			continue;
		s->by_signal = (int)info.ssi_signo;
		begin_end(s);
	}
}

/* ---- hand-over ---- */

static void hand_over(struct supervisor *s)
{
	struct handover_request rq;

	if (handover_take(s->listener, s->handover, &rq) < 0)
		return;
	log_info("handing %s over to inetboot %s", s->m->dir, rq.version);
	kill_worker(s);
	s->handover->slots = slots_fd(s->slots);
	s->handover->device = s->mount.device;
	s->handover->dir = s->mount.dir;
	s->handover->workers = s->workers;
	handover_become(s->handover, &rq);
	s->handover->dir = NULL;
	s->again_ms = 0;
}

/* ---- the loop ---- */

static bool is_due(uint64_t when)
{
	return clock_ms() >= when;
}

/* Milliseconds until there is something to do that no file descriptor tells of; -1: nothing. */
static int next_time(const struct supervisor *s)
{
	uint64_t now = clock_ms(), when = UINT64_MAX;

	if (!s->worker)
		when = s->again_ms;
	if (s->ending && s->kill_ms < when)
		when = s->kill_ms;
	/* Not through poll() on the device: each request would wake us up. */
	if (s->ready && s->phase != SERVING && when > now + LOOK_MS)
		when = now + LOOK_MS;
	return when == UINT64_MAX ? -1 : when <= now ? 0 : (int)(when - now);
}

static void loop(struct supervisor *s)
{
	while (!s->over) {
		struct pollfd fds[] = {
			{.fd = s->signals, .events = POLLIN},
			{.fd = s->silent ? -1 : s->socket, .events = POLLIN},
			{.fd = s->phase == SERVING ? s->listener : -1, .events = POLLIN},
		};

		if (!s->worker && !s->ending && is_due(s->again_ms)) {
			start_worker(s);
			continue;
		}
		if (poll(fds, sizeof(fds) / sizeof(fds[0]), next_time(s)) < 0 && errno != EINTR)
			break;
		read_signals(s);
		listen_to_worker(s);
		if (fds[1].revents & POLLHUP)
			s->silent = true; /* SIGCHLD is what to wait for now */
		reap(s);
		end_late_worker(s);
		if (s->ready && s->phase != SERVING && !s->ending && mountpoint_gone(&s->mount))
			begin_end(s);
		if (fds[2].revents && s->phase == SERVING && !s->ending)
			hand_over(s);
	}
}

/* ---- from beginning to end ---- */

/* Another program had the mount before. */
static int resume(struct supervisor *s, struct err *e)
{
	struct handover *h = s->handover;
	int r = slots_adopt(&s->slots, h->slots, e);

	if (!r)
		r = mountpoint_adopt(&s->mount, h->dir, h->device, e);
	if (r < 0)
		return r;
	prctl(PR_SET_NAME, "inetboot"); /* a program that is started by its file has a number for a name */
	free(steal_ptr(h->dir));
	fcntl(slots_fd(s->slots), F_SETFD, FD_CLOEXEC);
	fcntl(h->client, F_SETFD, FD_CLOEXEC);
	s->workers = h->workers;
	s->pinned = true;
	snprintf(s->reason, sizeof(s->reason), "replaced");
	settle(s);
	return 0;
}

static int prepare(struct supervisor *s, struct err *e)
{
	sigset_t set = taken_signals();

	if (s->m->options->play)
		filler_prepare(&s->filler);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals < 0)
		return err_errno(e, "cannot take signals");
	return s->handover && s->handover->resume ? resume(s, e) : slots_create(&s->slots, e);
}

static void clean_up(struct supervisor *s)
{
	filler_stop(&s->filler);
	kill_worker(s);
	mountpoint_close(&s->mount);
	slots_close(s->slots);
	if (s->listener >= 0)
		close(s->listener);
	if (s->signals >= 0)
		close(s->signals);
}

int image_mount_run(const struct image_mount *m, struct err *e)
{
	struct supervisor s = {.m = m, .handover = m->handover, .mount = MOUNTPOINT_NONE, .filler = FILLER_NONE, .signals = -1, .listener = -1, .socket = -1};
	sigset_t set = taken_signals(), before;
	bool mounted;
	int r;

	sigprocmask(SIG_BLOCK, &set, &before);
	r = prepare(&s, e);
	if (!r)
		loop(&s);
	mounted = s.mount.device >= 0;
	clean_up(&s);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (s.by_signal && !mounted)
		raise(s.by_signal);
	if (!r && s.failure.code) {
		*e = s.failure;
		r = e->code;
	}
	return r;
}
