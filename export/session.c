/* A FUSE session on slots: see session.h. libfuse takes requests apart and makes answers; the loop is our own, because libfuse's copies
 * requests into memory that dies with the process.
 *
 * A thread belongs to a slot. It handles what an earlier worker left there, then reads the device. Whoever takes the last thread that
 * waits away from the device starts another. To end, threads are woken up by a signal, which interrupts their read(), again and again:
 * one that is just before it would not notice the first. */
#define FUSE_USE_VERSION 312
#include "export/session.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "export/passthrough.h"

#define WAKE_MS 20

struct server { /* a thread and its slot */
	struct session *session;
	unsigned slot;
	pthread_t thread;
	bool started, ended;
};

struct session {
	struct fuse_session *fuse;
	struct slots *slots;
	int device;
	void *context;
	bool passthrough; /* to be agreed upon */
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	struct server servers[SLOTS];
	unsigned waiting; /* threads that read the device */
	bool stopping;
	int result; /* why it stops: 0 or -errno */
};

/* ---- answers ---- */

static ssize_t write_device(int device, const struct iovec *iov, int count)
{
	ssize_t n;

	do
		n = writev(device, iov, count);
	while (n < 0 && errno == EINTR);
	return n;
}

/* The kernel gets the first answer to FUSE_INIT; later sessions answer the same. */
static ssize_t answer_init(struct session *s, const struct iovec *iov, int count)
{
	alignas(uint64_t) uint8_t reply[SLOTS_INIT_MAX], request[SLOTS_INIT_MAX];
	struct iovec whole = {.iov_base = reply};
	size_t len = 0;
	ssize_t n;

	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > sizeof(reply) - len) {
			errno = EINVAL;
			return -1;
		}
		memcpy(reply + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	if (s->passthrough && !passthrough_agree(request, slots_init(s->slots, request), reply, len))
		log_debug("this kernel does not offer to read an unpacked image by itself");
	whole.iov_len = len;
	switch (slots_init_answer(s->slots, reply, len)) {
	case SLOTS_INIT_FIRST:
		n = write_device(s->device, &whole, 1);
		if (n < 0 && errno != ENOENT) /* a worker before us may have been killed between writing it and saying so */
			return n;
		slots_init_written(s->slots);
		break;
	case SLOTS_INIT_OTHER:
		log_debug("this libfuse would have agreed upon other features with the kernel than the one before");
		break;
	case SLOTS_INIT_SAME:
		break;
	}
	return (ssize_t)len;
}

static ssize_t answer(int device, struct iovec *iov, int count, void *session)
{
	struct session *s = session;
	const struct fuse_out_header *out = iov[0].iov_base;
	uint64_t unique = out->unique;
	ssize_t n;
	int error;

	if (slots_is_init(s->slots, unique)) {
		n = answer_init(s, iov, count);
		if (n >= 0)
			slots_answered(s->slots, unique);
		return n;
	}
	n = write_device(device, iov, count);
	error = errno;
	/* ENOENT: a worker before us answered it, or nobody waits any more. */
	if (n >= 0 || error == ENOENT)
		slots_answered(s->slots, unique);
	errno = error;
	return n;
}

/* libfuse insists on it. */
static ssize_t never_read(int device, void *buf, size_t len, void *session)
{
	errno = ENOSYS;
	return -1;
}

/* ---- requests ---- */

static void process(struct session *s, void *request, size_t len)
{
	struct fuse_buf buf = {.mem = request, .size = len};

	fuse_session_process_buf(s->fuse, &buf);
}

/* The kernel wanted it interrupted, and told a worker that is gone. */
static void interrupt(struct session *s, uint64_t unique)
{
	struct {
		struct fuse_in_header head;
		struct fuse_interrupt_in interrupt;
	} request = {
		.head = {.len = sizeof(request), .opcode = FUSE_INTERRUPT, .unique = unique | 1},
		.interrupt.unique = unique,
	};

	process(s, &request, sizeof(request));
}

static void take(struct session *s, unsigned slot, size_t len)
{
	const struct fuse_in_header *in = slots_request(s->slots, slot);
	const struct fuse_interrupt_in *wish = (const void *)(in + 1);

	if (in->opcode == FUSE_INIT)
		slots_keep_init(s->slots, slot, len);
	if (in->opcode == FUSE_INTERRUPT && len >= sizeof(*in) + sizeof(*wish))
		slots_note_interrupt(s->slots, wish->unique);
	process(s, slots_request(s->slots, slot), len);
}

static void take_over(struct session *s, unsigned slot)
{
	const struct fuse_in_header *in = slots_request(s->slots, slot);
	size_t len = slots_left(s->slots, slot);

	if (!len)
		return;
	/* libfuse keeps it until the request comes. If another one comes first, it asks the kernel to say it again. */
	if (slots_interrupted(s->slots, in->unique))
		interrupt(s, in->unique);
	process(s, slots_request(s->slots, slot), len);
}

/* What all threads must know before one of them begins: FUSE_INIT, and what the kernel wants interrupted. */
static void prepare(struct session *s)
{
	uint8_t init[SLOTS_INIT_MAX];
	size_t len;

	for (unsigned n = 0; n < SLOTS; n++) {
		const struct fuse_in_header *in = slots_request(s->slots, n);

		len = slots_left(s->slots, n);
		if (len && in->opcode == FUSE_INIT)
			slots_keep_init(s->slots, n, len);
	}
	len = slots_init(s->slots, init);
	if (len)
		process(s, init, len); /* the answer clears its slot, where it still stands in one */
}

static void stop_locked(struct session *s, int result)
{
	if (!s->stopping)
		s->result = result;
	s->stopping = true;
	pthread_cond_broadcast(&s->changed);
}

static bool begin_wait(struct session *s)
{
	bool go_on;

	pthread_mutex_lock(&s->lock);
	s->waiting++;
	if (fuse_session_exited(s->fuse))
		stop_locked(s, -EPROTO); /* libfuse and the kernel do not agree; libfuse has said why */
	go_on = !s->stopping;
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void start_server(struct session *s, unsigned slot);

/* The lock is held. */
static void start_another(struct session *s)
{
	for (unsigned n = 0; n < SLOTS && !s->stopping; n++)
		if (!s->servers[n].started) {
			start_server(s, n);
			return;
		}
}

static void end_wait(struct session *s, bool busy)
{
	pthread_mutex_lock(&s->lock);
	s->waiting--;
	if (busy && !s->waiting)
		start_another(s);
	pthread_mutex_unlock(&s->lock);
}

static void *serve(void *context)
{
	struct server *server = context;
	struct session *s = server->session;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	take_over(s, server->slot);
	while (begin_wait(s)) {
		ssize_t len = slots_read(s->slots, server->slot, s->device);

		end_wait(s, len > 0);
		if (len > 0) {
			take(s, server->slot, (size_t)len);
		} else if (len != -EINTR && len != -EAGAIN && len != -ENOENT) { /* ENOENT: the request was interrupted meanwhile */
			pthread_mutex_lock(&s->lock);
			stop_locked(s, len == -ENODEV ? 0 : (int)len); /* ENODEV: unmounted */
			pthread_mutex_unlock(&s->lock);
		}
	}
	pthread_mutex_lock(&s->lock);
	server->ended = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* The lock is held. Without another thread the work goes on more slowly; without any it stops. */
static void start_server(struct session *s, unsigned slot)
{
	struct server *server = &s->servers[slot];
	int r = thread_start(&server->thread, serve, server);

	server->started = !r;
	for (unsigned n = 0; r < 0 && n < SLOTS; n++)
		if (s->servers[n].started)
			return;
	if (r < 0)
		stop_locked(s, r);
}

/* ---- from beginning to end ---- */

static const struct fuse_custom_io io = {.writev = answer, .read = never_read};

int session_open(struct session **out, const struct fuse_lowlevel_ops *operations, void *context, struct slots *slots, int device,
	struct err *e)
{
	char *argv[] = {(char *)"inetboot", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct session *s = calloc(1, sizeof(*s));
	int copy = device < 0 ? -1 : dup(device); /* libfuse closes it */

	if (!s || copy < 0) {
		if (copy >= 0)
			close(copy);
		free(s);
		return err_set(e, -ENOMEM, "cannot start a FUSE session");
	}
	s->slots = slots;
	s->device = device;
	s->context = context;
	pthread_mutex_init(&s->lock, NULL);
	clock_cond_init(&s->changed);
	for (unsigned n = 0; n < SLOTS; n++)
		s->servers[n] = (struct server){.session = s, .slot = n};
	s->fuse = fuse_session_new(&args, operations, sizeof(*operations), s);
	fuse_opt_free_args(&args);
	if (!s->fuse || fuse_session_custom_io(s->fuse, &io, copy)) {
		close(copy);
		session_close(s);
		return err_set(e, -EIO, "cannot start a FUSE session");
	}
	*out = s;
	return 0;
}

void session_want_passthrough(struct session *s)
{
	s->passthrough = true;
}

void *session_context(const struct session *s)
{
	return s->context;
}

static void wake_up(int number)
{
}

static bool all_ended(const struct session *s)
{
	for (unsigned n = 0; n < SLOTS; n++)
		if (s->servers[n].started && !s->servers[n].ended)
			return false;
	return true;
}

static void end_servers(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	while (!all_ended(s)) {
		for (unsigned n = 0; n < SLOTS; n++)
			if (s->servers[n].started && !s->servers[n].ended)
				pthread_kill(s->servers[n].thread, SIGUSR2);
		clock_cond_wait(&s->changed, &s->lock, clock_ms() + WAKE_MS);
	}
	pthread_mutex_unlock(&s->lock);
	for (unsigned n = 0; n < SLOTS; n++)
		if (s->servers[n].started)
			pthread_join(s->servers[n].thread, NULL);
}

int session_run(struct session *s, void (*stopped)(void *context), struct err *e)
{
	struct sigaction action = {.sa_handler = wake_up};

	sigaction(SIGUSR2, &action, NULL);
	slots_lock(s->slots);
	prepare(s);
	pthread_mutex_lock(&s->lock);
	for (unsigned n = 0; n < SLOTS && !s->stopping; n++)
		if (slots_left(s->slots, n))
			start_server(s, n);
	start_another(s); /* those may wait for long before they read the device */
	while (!s->stopping)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	stopped(s->context);
	end_servers(s);
	return s->result < 0 ? err_set(e, s->result, "the FUSE connection failed: %s", strerror(-s->result)) : 0;
}

void session_stop(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	stop_locked(s, 0);
	pthread_mutex_unlock(&s->lock);
}

void session_close(struct session *s)
{
	if (!s)
		return;
	if (s->fuse)
		fuse_session_destroy(s->fuse);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
