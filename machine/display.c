/* A guest's screen: see display.h. */
#include "machine/display.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/program.h"
#include "base/text.h"
#include "base/unix_socket.h"
#include "publish/tool.h"

#define READY_MS 30000 /* for a server to start; a loaded machine takes a while */
#define STOP_MS 3000   /* for a server to clear up */
#define NOVNC "/usr/share/novnc"
#define PASSWORD_LEN 8 /* VNC's passwords end there */
#define TOKEN_BYTES 16
#define FAMILY_WILD 0xffff /* any host */
#define COOKIE_NAME "MIT-MAGIC-COOKIE-1"

static bool has_program(const char *name)
{
	_cleanup_free_ char *path = program_path(name);

	return path;
}

static const char *window_program(enum display_kind kind)
{
	if (kind != DISPLAY_XNEST && has_program("Xephyr"))
		return "Xephyr";
	return kind != DISPLAY_XEPHYR && has_program("Xnest") ? "Xnest" : NULL;
}

int display_check(const struct display_options *o, struct err *e)
{
	const char *screen = getenv("DISPLAY");

	if (o->kind == DISPLAY_VNC || o->kind == DISPLAY_WEB) {
		if (!has_program("Xvnc"))
			return err_set(e, -ENOENT, "Xvnc is not here: install the package tigervnc-standalone-server");
		if (o->kind == DISPLAY_VNC && !has_program("vncpasswd"))
			return err_set(e, -ENOENT, "vncpasswd is not here: install the package tigervnc-tools");
		if (o->kind == DISPLAY_WEB && (!has_program("websockify") || access(NOVNC "/vnc.html", R_OK) < 0))
			return err_set(e, -ENOENT, "the screen in a browser needs the packages novnc and websockify");
		return 0;
	}
	if (!screen || !*screen)
		return err_set(e, -ENXIO, "there is no X display here to open a window on (DISPLAY is not set): --vnc and --web need none");
	if (!window_program(o->kind))
		return err_set(e, -ENOENT, "%s not here: install the package %s", o->kind == DISPLAY_XNEST ? "Xnest is" : o->kind == DISPLAY_XEPHYR ? "Xephyr is" : "neither Xephyr nor Xnest is",
			o->kind == DISPLAY_XNEST ? "xnest" : "xserver-xephyr");
	return 0;
}

static int add_field(struct buf *out, const void *data, size_t len)
{
	uint8_t head[2];
	int r;

	store_be16(head, (uint16_t)len);
	r = buf_append(out, head, sizeof(head));
	return r < 0 ? r : buf_append(out, data, len);
}

int display_authority(const struct display *d, struct buf *out)
{
	uint8_t family[2];
	int r;

	store_be16(family, FAMILY_WILD);
	r = buf_append(out, family, sizeof(family));
	if (!r)
		r = add_field(out, "", 0); /* address */
	if (!r)
		r = add_field(out, "", 0); /* display's number */
	if (!r)
		r = add_field(out, COOKIE_NAME, strlen(COOKIE_NAME));
	return r < 0 ? r : add_field(out, d->cookie, sizeof(d->cookie));
}

static int random_bytes(void *out, size_t len, struct err *e)
{
	return getrandom(out, len, 0) == (ssize_t)len ? 0 : err_errno(e, "the kernel gives no random numbers");
}

/* A child that runs argv, with `keep` (-1: none) as descriptor 3 and what it says in the folder's Xlog. */
static pid_t spawn(const char *const *argv, const char *dir, int keep)
{
	_cleanup_free_ char *log = file_path("%s/Xlog", dir);
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	int null = open("/dev/null", O_RDWR), to = log ? open(log, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setsid(); /* what is typed is for the guest */
	dup2(null, STDIN_FILENO);
	dup2(to >= 0 ? to : null, STDOUT_FILENO);
	dup2(to >= 0 ? to : null, STDERR_FILENO);
	if (keep >= 0)
		dup2(keep, 3);
	close_range(keep >= 0 ? 4 : 3, ~0U, 0);
	signal(SIGPIPE, SIG_DFL);
	if (getppid() == parent)
		execvp(argv[0], (char *const *)argv);
	dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* The last that the server said. */
static int failed(const char *program, const char *dir, struct err *e)
{
	_cleanup_free_ char *path = file_path("%s/Xlog", dir);
	_cleanup_buf_ struct buf text = BUF_INIT(1 << 20);
	const char *last = "";
	char *next;

	if (path && !file_load(AT_FDCWD, path, &text, NULL) && !buf_append(&text, "", 1)) {
		next = (char *)text.data;
		for (char *line; (line = strsep(&next, "\n"));)
			if (*line && !text_starts(line, "(EE) \r") && strcmp(line, "(EE) "))
				last = line;
	}
	return err_set(e, -EIO, "%s does not start%s%s", program, *last ? "; the last that it said: " : "", last);
}

/* The number that the server writes when it takes clients. */
static int wait_for_number(struct display *d, int from, const char *program, const char *dir, struct err *e)
{
	uint64_t end = clock_ms() + READY_MS, now;
	char text[16] = "";
	size_t len = 0;
	uint64_t number;

	while ((now = clock_ms()) < end && !strchr(text, '\n')) {
		struct pollfd wait = {.fd = from, .events = POLLIN};
		ssize_t n;

		if (poll(&wait, 1, (int)(end - now)) <= 0)
			continue;
		n = read(from, text + len, sizeof(text) - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	text[strcspn(text, "\n")] = 0;
	if (text_to_u64(text, &number) < 0 || number > 100000)
		return failed(program, dir, e);
	d->number = (unsigned)number;
	return 0;
}

static int save_authority(struct display *d, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf file = BUF_INIT(4096);
	int r = random_bytes(d->cookie, sizeof(d->cookie), e);

	if (!r && display_authority(d, &file) < 0)
		r = err_set(e, -ENOMEM, "no memory");
	return r < 0 ? r : file_save(AT_FDCWD, path, file.data, file.len, FILE_PRIVATE, e);
}

/* A new password, in the form that Xvnc reads, and for people. */
static int make_password(const char *path, char out[PASSWORD_LEN + 1], struct err *e)
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* 32 */
	_cleanup_buf_ struct buf coded = BUF_INIT(4096);
	struct tool vncpasswd = {.package = "tigervnc-tools", .argv = {"vncpasswd", "-f"}, .input = out, .output = &coded};
	uint8_t random[PASSWORD_LEN];
	int r = random_bytes(random, sizeof(random), e);

	for (unsigned i = 0; i < PASSWORD_LEN; i++)
		out[i] = letters[random[i] % (sizeof(letters) - 1)];
	out[PASSWORD_LEN] = 0;
	if (!r)
		r = tool_run(&vncpasswd, e);
	return r < 0 ? r : file_save(AT_FDCWD, path, coded.data, coded.len, FILE_PRIVATE, e);
}

#define ARGUMENTS 32

struct command {
	const char *argv[ARGUMENTS];
	int count;
};

static void add(struct command *c, const char *word)
{
	if (c->count < ARGUMENTS - 1)
		c->argv[c->count++] = word;
}

static void add_all(struct command *c, const char *const *words)
{
	while (*words)
		add(c, *words++);
}

static int start_server(struct display *d, struct command *c, const char *dir, const char *size, struct err *e)
{
	_cleanup_free_ char *authority = file_path("%s/Xauthority", dir);
	_cleanup_close_ int from = -1, to = -1;
	int fds[2], r = authority ? save_authority(d, authority, e) : -ENOMEM;
	const char *const common[] = {"-displayfd", "3", "-nolisten", "tcp", "-auth", authority, "-noreset", NULL};

	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, "cannot start %s", c->argv[0]);
	from = fds[0];
	to = fds[1];
	add_all(c, common);
	add(c, strcmp(c->argv[0], "Xephyr") ? "-geometry" : "-screen");
	add(c, size);
	d->server = spawn(c->argv, dir, to);
	close(steal_fd(&to));
	d->ended = d->server > 0 ? pidfd_open(d->server, 0) : -1;
	if (d->ended < 0)
		return err_errno(e, "cannot start %s", c->argv[0]);
	return wait_for_number(d, from, c->argv[0], dir, e);
}

static int start_window(struct display *d, const struct display_options *o, const char *dir, const char *size, struct err *e)
{
	const char *program = window_program(o->kind);
	/* GLX would have the guest load Mesa and LLVM, to draw by software what it draws without them as well. */
	static const char *const xephyr[] = {"-extension", "GLX", "-resizeable", "-title", NULL};
	struct command c = {.argv = {program}, .count = 1};

	if (!strcmp(program, "Xephyr"))
		add_all(&c, xephyr);
	else
		add(&c, "-name");
	add(&c, o->title);
	return start_server(d, &c, dir, size, e);
}

static int start_vnc(struct display *d, const struct display_options *o, const char *dir, const char *size, struct err *e)
{
	_cleanup_free_ char *file = file_path("%s/vncpassword", dir), *port = file_path("%u", o->port);
	char password[PASSWORD_LEN + 1];
	const char *const own[] = {"-SecurityTypes", "VncAuth", "-rfbauth", file, "-interface", o->address, "-rfbport", port, "-desktop", o->title,
		"-extension", "GLX", NULL};
	struct command c = {.argv = {"Xvnc"}, .count = 1};
	int r = file && port ? make_password(file, password, e) : -ENOMEM;

	if (r < 0)
		return r;
	add_all(&c, own);
	r = start_server(d, &c, dir, size, e);
	if (r < 0)
		return r;
	d->where = file_path("a VNC viewer on %s:%u, password %s", o->address, o->port, password);
	return d->where ? 0 : -ENOMEM;
}

/* Does it take connections? Until then a browser that is faster would be refused. */
static int wait_for_web(const struct display *d, const struct display_options *o, const char *dir, struct err *e)
{
	_cleanup_free_ char *log = file_path("%s/Xlog", dir);
	uint64_t end = clock_ms() + READY_MS;
	struct pollfd ended = {.fd = d->web_ended, .events = POLLIN};

	while (log && clock_ms() < end && poll(&ended, 1, 50) == 0) {
		_cleanup_buf_ struct buf text = BUF_INIT(1 << 20);

		if (!file_load(AT_FDCWD, log, &text, NULL) && !buf_append(&text, "", 1) && strstr((char *)text.data, "proxying from"))
			return 0;
	}
	return err_set(e, -EIO, "websockify does not start: is port %u of %s in use?", o->port, o->address);
}

/* Who does not know the name of the link to the server's socket, which is the token, gets nowhere. All may see the programs' arguments. */
static int start_web(struct display *d, const struct display_options *o, const char *dir, const char *size, struct err *e)
{
	_cleanup_free_ char *folder = file_path("%s/web", dir), *socket = file_path("%s/screen", dir), *link = NULL;
	_cleanup_free_ char *listen = file_path("%s:%u", o->address, o->port);
	uint8_t random[TOKEN_BYTES];
	char token[2 * TOKEN_BYTES + 1];
	int r = random_bytes(random, sizeof(random), e);

	hex_encode(token, random, sizeof(random));
	link = folder ? file_path("%s/%s", folder, token) : NULL;
	if (r < 0 || !socket || !listen || !link || mkdir(folder, 0700) < 0 || symlink("../screen", link) < 0)
		return r < 0 ? r : err_errno(e, "cannot make a folder for the screen");
	{
		/* Only this user reaches the socket. */
		const char *const own[] = {"-SecurityTypes", "None", "-rfbport", "-1", "-rfbunixpath", socket, "-rfbunixmode", "0600", "-desktop", o->title,
			"-extension", "GLX", NULL};
		struct command c = {.argv = {"Xvnc"}, .count = 1};

		add_all(&c, own);
		r = start_server(d, &c, dir, size, e);
	}
	if (r < 0)
		return r;
	{
		const char *const web[] = {"websockify", "--web", NOVNC, "--token-plugin", "UnixDomainSocketDirectory", "--token-source", folder,
			listen, NULL};

		d->web = spawn(web, dir, -1);
		d->web_ended = d->web > 0 ? pidfd_open(d->web, 0) : -1;
	}
	if (d->web_ended < 0)
		return err_errno(e, "cannot start websockify");
	d->token = steal_ptr(link);
	d->where = file_path("http://%s:%u/vnc.html?autoconnect=1&resize=scale&path=websockify%%3Ftoken%%3D%s", o->address, o->port, token);
	return d->where ? wait_for_web(d, o, dir, e) : -ENOMEM;
}

int display_start(struct display *d, const struct display_options *o, const char *dir, struct err *e)
{
	char size[32];

	snprintf(size, sizeof(size), "%ux%u", o->width, o->height);
	switch (o->kind) {
	case DISPLAY_VNC:
		return start_vnc(d, o, dir, size, e);
	case DISPLAY_WEB:
		return start_web(d, o, dir, size, e);
	default:
		return start_window(d, o, dir, size, e);
	}
}

/* In order, so that it removes its socket and lock. */
static void stop(pid_t *pid, int *ended)
{
	struct pollfd wait = {.fd = *ended, .events = POLLIN};

	if (*pid <= 0)
		return;
	kill(*pid, SIGTERM);
	if (*ended >= 0 && poll(&wait, 1, STOP_MS) <= 0)
		kill(*pid, SIGKILL);
	while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
		;
	*pid = -1;
	cleanup_close(ended);
	*ended = -1;
}

/* A server that lost its window, or was killed, leaves its socket. Another one may have taken the number: that listens. */
static void remove_socket(unsigned number)
{
	_cleanup_free_ char *path = file_path("/tmp/.X11-unix/X%u", number);
	_cleanup_close_ int fd = path ? unix_connect(path, SOCK_STREAM) : -ENOMEM;

	if (fd == -ECONNREFUSED)
		unlink(path);
}

void display_stop(struct display *d)
{
	bool started = d->server > 0;

	stop(&d->web, &d->web_ended);
	stop(&d->server, &d->ended);
	if (started)
		remove_socket(d->number);
	if (d->token)
		unlink(d->token);
	free(d->token);
	free(d->where);
	*d = (struct display)DISPLAY_INIT;
}
