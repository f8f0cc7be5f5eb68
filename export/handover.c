/* Handing over: see handover.h. The state goes to the new program in its environment, as numbers and file descriptors that it inherits:
 *
 *	INETBOOT_RESUME=VERSION:SLOTS:DEVICE:CLIENT:WORKERS:DIR		go on
 *	INETBOOT_RESUME=VERSION:probe					could you?
 *
 * VERSION is that of the slots' layout: who knows another one says so when it is probed, and the mount stays with whom it is. */
#include "export/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/passing.h"
#include "base/text.h"
#include "export/mountpoint.h"
#include "export/slots.h"

#define VARIABLE "INETBOOT_RESUME"
#define ARGUMENTS_MAX (2u << 20) /* bytes: the kernel's own bound of a process's arguments, by default */
#define PROBE_MS 10000
#define TALK_MS 5000  /* for the other side to say what it has to say at once */
#define SERVE_MS 60000 /* until the new program serves */

/* ---- being started ---- */

static int read_state(struct handover *h, const char *text, struct err *e)
{
	unsigned version = 0, workers;
	int at = 0;

	if (sscanf(text, "%u:", &version) != 1 || version != SLOTS_VERSION)
		return err_set(e, -EPROTO, "the mount keeps its state in version %u, this program knows version %u only", version, SLOTS_VERSION);
	if (text_ends(text, ":probe"))
		return -ECANCELED;
	if (sscanf(text, "%*u:%d:%d:%d:%u:%n", &h->slots, &h->device, &h->client, &workers, &at) != 4 || !at || text[at] != '/')
		return err_set(e, -EPROTO, VARIABLE " in the environment is for the program itself");
	h->workers = workers;
	h->dir = strdup(text + at);
	h->resume = h->dir;
	return h->dir ? 0 : err_set(e, -EPROTO, "no memory for a mount");
}

int handover_begin(struct handover *h, struct err *e)
{
	_cleanup_buf_ struct buf arguments = BUF_INIT(ARGUMENTS_MAX);
	_cleanup_free_ char *state = NULL;
	const char *text = getenv(VARIABLE);
	int r = 0;

	*h = (struct handover){.slots = -1, .device = -1, .client = -1};
	if (text) {
		state = strdup(text);
		unsetenv(VARIABLE);
		r = state ? read_state(h, state, e) : err_set(e, -EPROTO, "no memory for a mount");
	}
	if (r < 0 || file_load(AT_FDCWD, "/proc/self/cmdline", &arguments, NULL) < 0)
		return r; /* without its arguments it cannot be replaced */
	h->arguments = (char *)steal_ptr(arguments.data);
	h->len = arguments.len;
	return 0;
}

void handover_free(struct handover *h)
{
	free(h->arguments);
	free(h->dir);
	*h = (struct handover){.slots = -1, .device = -1, .client = -1};
}

/* ---- the socket ---- */

static socklen_t address(struct sockaddr_un *out, const unsigned number[2])
{
	int len;

	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	len = snprintf(out->sun_path + 1, sizeof(out->sun_path) - 1, "inetboot/mount/%u:%u", number[0], number[1]);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

int handover_listen(const unsigned number[2])
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un name;
	socklen_t len = address(&name, number);

	if (!number[0] && !number[1])
		return -ENODEV;
	if (fd < 0 || bind(fd, (struct sockaddr *)&name, len) < 0 || listen(fd, 4) < 0)
		return -errno;
	return steal_fd(&fd);
}

/* Who is at the other end: this user, or (where that may be) root? */
static bool is_trusted(int fd, bool root_too, pid_t *pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	if (pid)
		*pid = peer.pid;
	return peer.uid == geteuid() || (root_too && !peer.uid);
}

static void limit(int fd, int option, int ms)
{
	struct timeval t = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	setsockopt(fd, SOL_SOCKET, option, &t, sizeof(t));
}

void handover_answer(int *client, const struct err *e)
{
	struct handover_answer a = {.code = e ? e->code : 0, .pid = (uint32_t)getpid(), .version = INETBOOT_VERSION};

	if (*client < 0)
		return;
	snprintf(a.text, sizeof(a.text), "%s", e ? e->text : "");
	if (send(*client, &a, sizeof(a), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("nobody waits for the hand-over: %s", strerror(errno));
	close(*client);
	*client = -1;
}

/* ---- starting the other program ---- */

/* Pointers to the arguments. Allocated; NULL without memory. */
static char **split(char *arguments, size_t len)
{
	size_t count = 0, n = 0;
	char **argv;

	for (size_t i = 0; i < len; i++)
		count += !arguments[i];
	argv = calloc(count + 1, sizeof(*argv));
	for (char *at = arguments; argv && n < count; at += strlen(at) + 1)
		argv[n++] = at;
	return argv;
}

/* Comes back only on failure: -errno. */
static int start(int program, const struct handover *h, const char *state)
{
	char **argv = split(h->arguments, h->len);
	int r;

	if (!argv || setenv(VARIABLE, state, 1) < 0)
		r = -ENOMEM;
	else
		r = execveat(program, "", argv, environ, AT_EMPTY_PATH) < 0 ? -errno : 0;
	unsetenv(VARIABLE);
	free(argv);
	return r;
}

__attribute__((noreturn)) static void run_probe(int program, const struct handover *h, int messages)
{
	sigset_t none;
	char state[32];

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(messages, STDERR_FILENO);
	dup2(messages, STDOUT_FILENO);
	snprintf(state, sizeof(state), "%u:probe", SLOTS_VERSION);
	_exit(start(program, h, state) == -ENOENT ? 126 : 127);
}

/* What it says until it ends, or its time is over. What does not fit is read, too, so that it does not wait for us. */
static void read_messages(int fd, char *out, size_t room, uint64_t until)
{
	uint64_t now;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	size_t used = 0;
	ssize_t n = 1;

	while (n > 0 && (now = clock_ms()) < until && poll(&wait, 1, (int)(until - now)) > 0) {
		char rest[512];
		bool fits = used < room - 1;

		n = read(fd, fits ? out + used : rest, fits ? room - 1 - used : sizeof(rest));
		used += fits && n > 0 ? (size_t)n : 0;
	}
	while (used && out[used - 1] == '\n')
		used--;
	out[used] = 0;
}

static int probe(int program, const struct handover *h, struct err *e)
{
	_cleanup_close_ int from = -1, to = -1;
	char said[512];
	uint64_t until = clock_ms() + PROBE_MS;
	int fds[2], status = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, "cannot try the new program");
	from = fds[0];
	to = fds[1];
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_errno(e, "cannot try the new program");
	if (!pid)
		run_probe(program, h, to);
	close(steal_fd(&to));
	read_messages(from, said, sizeof(said), until);
	if (clock_ms() >= until)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	return err_set(e, -ENOEXEC, "the new program cannot go on with this mount: %s", said[0] ? said : "it does not start");
}

/* ---- the supervisor's side ---- */

static int receive(int client, struct handover_request *out)
{
	ssize_t n;

	limit(client, SO_RCVTIMEO, TALK_MS);
	n = passing_receive(client, out->version, sizeof(out->version), &out->program, 0);
	if (n != sizeof(out->version) || out->program < 0)
		return -EPROTO;
	out->version[sizeof(out->version) - 1] = 0;
	text_clean(out->version);
	return 0;
}

int handover_take(int listener, const struct handover *h, struct handover_request *out)
{
	_cleanup_close_ int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct err e = ERR_INIT;
	int r;

	*out = (struct handover_request){.client = -1, .program = -1};
	if (client < 0)
		return -errno;
	if (!is_trusted(client, true, NULL))
		return -EACCES;
	r = receive(client, out);
	if (r < 0)
		err_set(&e, r, "the request to hand over cannot be understood");
	else
		r = probe(out->program, h, &e);
	if (r < 0) {
		handover_answer(&client, &e);
		if (out->program >= 0)
			close(out->program);
		return r;
	}
	out->client = steal_fd(&client);
	return 0;
}

static void inherit(int fd, bool yes)
{
	fcntl(fd, F_SETFD, yes ? 0 : FD_CLOEXEC);
}

void handover_become(const struct handover *h, struct handover_request *rq)
{
	const int fds[] = {h->slots, h->device, rq->client};
	_cleanup_free_ char *state = file_path("%u:%d:%d:%d:%u:%s", SLOTS_VERSION, h->slots, h->device, rq->client, h->workers, h->dir);
	struct err e = ERR_INIT;
	int r = -ENOMEM;

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		inherit(fds[i], true);
	if (state)
		r = start(rq->program, h, state);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		inherit(fds[i], false);
	err_set(&e, r, "the new program does not start: %s", strerror(-r));
	log_warning("no hand-over: %s", e.text);
	handover_answer(&rq->client, &e);
	close(rq->program);
}

/* ---- the side of the new program ---- */

static int connect_to(const unsigned number[2], const char *dir, pid_t *pid, struct err *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un name;
	socklen_t len = address(&name, number);

	if (fd < 0 || connect(fd, (struct sockaddr *)&name, len) < 0)
		return err_errno(e, "nobody serves %s who could hand it over", dir);
	if (!is_trusted(fd, false, pid) && geteuid())
		return err_set(e, -EACCES, "%s is another user's", dir);
	return steal_fd(&fd);
}

int handover_ask(const char *dir, struct handover_answer *out, struct err *e)
{
	_cleanup_close_ int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = -1;
	_cleanup_free_ char *path = NULL;
	char version[HANDOVER_VERSION_MAX] = INETBOOT_VERSION;
	unsigned number[2];
	ssize_t n;
	pid_t pid = 0;

	if (self < 0)
		return err_errno(e, "cannot open this program");
	if (mountpoint_find(dir, number, &path) < 0)
		return err_set(e, -ENOENT, "nothing is mounted at %s by FUSE", dir);
	fd = connect_to(number, path, &pid, e);
	if (fd < 0)
		return fd;
	limit(fd, SO_RCVTIMEO, SERVE_MS);
	if (passing_send(fd, version, sizeof(version), self, 0) < 0)
		return err_errno(e, "cannot ask for %s", path);
	n = recv(fd, out, sizeof(*out), 0);
	if (n != sizeof(*out))
		return err_set(e, -ETIMEDOUT, "process %ld has %s, and says nothing", (long)pid, path);
	out->version[sizeof(out->version) - 1] = 0;
	out->text[sizeof(out->text) - 1] = 0;
	return out->code < 0 ? err_set(e, out->code, "%s", out->text) : 0;
}
