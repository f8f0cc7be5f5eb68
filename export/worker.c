/* The worker: see worker.h. It keeps no file of the supervisor's but standard error and the socket. A thread listens to that. The signals that are typed on a terminal go to all of its processes: the supervisor decides what they mean. */
#include "export/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/passing.h"
#include "base/thread.h"
#include "disk/confine.h"
#include "export/filler.h"
#include "export/fuse.h"

#define SOCKET 3
#define FILLER 4

struct serving {
	const struct worker *w;
	struct image *image;
	struct fuse_export *export;
	pid_t supervisor;
	char since[32];
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	bool asked, ending; /* the supervisor, what to do with the file; no answer comes any more */
};

/* ---- messages ---- */

static void say(int socket, enum worker_word word, const struct err *e)
{
	struct worker_message m = {.word = word, .code = e ? e->code : 0};

	snprintf(m.text, sizeof(m.text), "%s", e ? e->text : "");
	if (send(socket, &m, sizeof(m), MSG_NOSIGNAL) < 0)
		log_debug("the supervisor does not listen: %s", strerror(errno));
}

int worker_receive(int socket, struct worker_message *out, int *fd)
{
	ssize_t n = passing_receive(socket, out, sizeof(*out), fd, MSG_DONTWAIT);

	if (n == sizeof(*out)) {
		out->text[sizeof(out->text) - 1] = 0;
		return 0;
	}
	if (*fd >= 0)
		close(steal_fd(fd));
	return n == -EAGAIN ? -EAGAIN : -EPIPE;
}

int worker_send_file(int socket, int fd)
{
	return passing_send(socket, "", 1, fd, MSG_DONTWAIT);
}

int worker_send_word(int socket, enum supervisor_word word)
{
	char byte = (char)word;

	return send(socket, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* -EPIPE: the supervisor wants the end instead. */
static int receive_device(int socket)
{
	char byte;
	int device;

	return passing_receive(socket, &byte, 1, &device, 0) == 1 && device >= 0 ? device : -EPIPE;
}

/* ---- serving ---- */

static void add_processes(const struct serving *s, json_t *status)
{
	const struct worker *w = s->w;
	json_t *worker = json_pack("{s:i, s:i, s:s}", "pid", (int)getpid(), "started", (int)w->number, "since", s->since);

	if (worker && w->reason[0])
		json_object_set_new(worker, "last_end", json_string(w->reason));
	json_object_set_new(status, "worker", worker);
	json_object_set_new(status, "supervisor", json_integer(s->supervisor));
	json_object_set_new(status, "passthrough", json_boolean(slots_passthrough(w->slots) > 0));
}

static char *status_text(void *context)
{
	const struct serving *s = context;
	json_t *status = image_status(s->image);
	_cleanup_free_ char *text = NULL;
	char *line = NULL;

	if (status) {
		add_processes(s, status);
		text = json_dumps(status, JSON_INDENT(2));
	}
	json_decref(status);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	return line;
}

static void take_word(struct serving *s, char word)
{
	if (word == SUPERVISOR_TOGGLE_FILL && s->image->fill)
		fill_toggle(s->image->fill);
	if (word != SUPERVISOR_DECIDED)
		return;
	pthread_mutex_lock(&s->lock);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void *wait_for_end(void *context)
{
	struct serving *s = context;
	char byte;
	int fd;

	while (passing_receive(SOCKET, &byte, 1, &fd, 0) > 0) {
		if (fd < 0) {
			take_word(s, byte);
			continue;
		}
		dup2(fd, STDERR_FILENO);
		close(fd);
	}
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	fuse_export_stop(s->export);
	return NULL;
}

/* Does it have a file that the kernel could read by itself? What is recorded must come here. */
static bool has_file(const struct serving *s)
{
	return s->image->unpacked && !s->w->mount->record && !geteuid();
}

static void ask_supervisor(struct serving *s)
{
	struct worker_message m = {.word = WORKER_FILE};

	if (s->asked)
		return;
	s->asked = true;
	if (!has_file(s) || passing_send(SOCKET, &m, sizeof(m), s->image->unpacked_fd, 0) < 0)
		slots_set_passthrough(s->w->slots, SLOTS_NO_PASSTHROUGH);
}

/* Decides it, at the first open. */
static int32_t passthrough(void *context)
{
	struct serving *s = context;
	int32_t number;

	pthread_mutex_lock(&s->lock);
	while (!(number = slots_passthrough(s->w->slots)) && !s->ending) {
		ask_supervisor(s);
		if (!slots_passthrough(s->w->slots))
			pthread_cond_wait(&s->changed, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return number;
}

static bool show(void *context, uint64_t offset, uint64_t len)
{
	return filler_ask(FILLER, offset, len);
}

static int serve(struct serving *s, int device, struct err *e)
{
	struct fuse_export_options o = {
		.disk = s->image->disk,
		.status = status_text,
		.context = s,
		.buffers = s->image->budget.buffers,
		.mtime = image_mtime(s->image),
		.slots = s->w->slots,
		.device = device,
		.exact = !s->w->mount->bulk && s->image->manifest.profile.size, /* also offline, after pull --only-boot */
		.direct = s->w->mount->record,
		.has_file = has_file(s),
		.passthrough = passthrough,
		.worker = s->w->number,
	};
	pthread_t thread;
	int r = fuse_export_open(&s->export, &o, e);

	if (r < 0)
		return r;
	r = thread_start(&thread, wait_for_end, s);
	if (r < 0) {
		err_set(e, r, "cannot start a thread: %s", strerror(-r));
	} else {
		say(SOCKET, WORKER_READY, NULL);
		image_play(s->image, s->w->filler >= 0 ? show : NULL, NULL);
		r = fuse_export_run(s->export, e);
		image_stop_playing(s->image);
		shutdown(SOCKET, SHUT_RD);
		pthread_join(thread, NULL);
	}
	fuse_export_close(s->export);
	return r;
}

/* ---- opening ---- */

static int set_pin(const struct worker *w, struct image *image, struct err *e)
{
	_cleanup_free_ char *report = w->mount->report ? w->mount->report(image) : NULL;
	const struct buf *pin = image_pin(image);
	int r = slots_set_text(w->slots, SLOTS_PIN, pin->data, pin->len);

	if (!r)
		r = slots_set_text(w->slots, SLOTS_REPORT, report, report ? strlen(report) : 0);
	return r < 0 ? err_set(e, r, "what the image says of itself is too long") : 0;
}

static int open_image(struct serving *s, struct err *e)
{
	const struct worker *w = s->w;
	struct image_options o = *w->mount->options;
	_cleanup_free_ char *pin = NULL;
	int r = 0;

	if (w->pinned) {
		pin = slots_text(w->slots, SLOTS_PIN, &o.pin_len);
		if (!pin)
			return err_set(e, -ENOMEM, "no memory for an image");
		o.pin = pin;
	}
	image_check_cache(&o);
	if (w->mount->record)
		r = trace_open(&o.trace, w->mount->record, w->number > 1, e);
	if (!r)
		r = image_confine(w->mount->link, &o, e);
	if (!r)
		r = image_open(&s->image, w->mount->link, &o, e);
	if (!r)
		r = image_open_disk(s->image, e);
	return !r && !w->pinned ? set_pin(w, s->image, e) : r;
}

/* ---- from beginning to end ---- */

/* Nobody else's files: the standard ones but for messages, and all that the supervisor has. */
static int let_go(int socket, int filler)
{
	int null = open("/dev/null", O_RDWR), high = fcntl(socket, F_DUPFD, FILLER + 1), other = filler < 0 ? -1 : fcntl(filler, F_DUPFD, FILLER + 1);

	if (null < 0 || high < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(high, SOCKET) < 0)
		return -errno;
	if (other >= 0)
		dup2(other, FILLER);
	closefrom(other >= 0 ? FILLER + 1 : SOCKET + 1);
	return 0;
}

static void take_signals(void)
{
	static const int typed[] = {SIGINT, SIGHUP};
	sigset_t none;

	for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++)
		signal(typed[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int run(struct serving *s, struct err *e)
{
	int r = open_image(s, e), device;

	if (r < 0)
		return r;
	say(SOCKET, WORKER_OPENED, NULL);
	device = receive_device(SOCKET);
	if (device < 0)
		return 0;
	r = serve(s, device, e);
	close(device);
	return r;
}

void worker_run(const struct worker *w, pid_t supervisor)
{
	struct serving s = {.w = w, .supervisor = supervisor, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	struct err e = ERR_INIT;
	time_t now = time(NULL);
	struct tm utc;
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != supervisor) /* it died before that */
		_exit(1);
	take_signals();
	if (let_go(w->socket, w->filler) < 0)
		_exit(1);
	gmtime_r(&now, &utc);
	strftime(s.since, sizeof(s.since), "%Y-%m-%dT%H:%M:%SZ", &utc);
	r = run(&s, &e);
	image_close(s.image);
	if (r < 0)
		say(SOCKET, WORKER_FAILED, &e);
	exit(r < 0);
}
