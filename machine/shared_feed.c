/* One feed for several machines: see shared_feed.h. */
#include "machine/shared_feed.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/runtime_dir.h"
#include "base/sha256.h"
#include "machine/feed.h"
#include "machine/namespaces.h"

#define MEMBERS_MAX 200
#define REPORT_MAX (64u << 10) /* bytes: a command line and some */
#define MESSAGE_MAX 4096
#define JOIN_TRIES 20 /* each time one ended just then */

/* ---- the process that has the feed ---- */

struct host {
	int runtime; /* the folder, O_PATH: our own may hide its name */
	int listener, start;
	char name[32], lock[40]; /* of the socket; of the lock */
	struct feed feed;
	int disk, status, messages;
	char *report;
	int members[MEMBERS_MAX];
	size_t count;
};

static int send_all(int to, const char *text, size_t len, const int *fds, size_t count)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)text, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
	}
	return sendmsg(to, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* Those who wait at the socket become members. */
static void welcome(struct host *h)
{
	int fds[2] = {h->disk, h->status}, fd;

	while ((fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		if (h->count < MEMBERS_MAX && !send_all(fd, h->report, strlen(h->report), fds, h->disk >= 0 ? 2 : 0))
			h->members[h->count++] = fd;
		else
			close(fd);
	}
}

static void pass_messages_on(struct host *h)
{
	char text[MESSAGE_MAX];
	ssize_t n = read(h->messages, text, sizeof(text));

	for (size_t i = 0; n > 0 && i < h->count; i++)
		send_all(h->members[i], text, (size_t)n, NULL, 0); /* who does not read them misses them */
	if (!n)
		close(steal_fd(&h->messages));
}

/* Nobody is a member: is it the end? Whoever joins has the lock. */
static bool may_end(struct host *h)
{
	if (flock(h->start, LOCK_EX | LOCK_NB) < 0)
		return false;
	welcome(h);
	if (!h->count) {
		unlinkat(h->runtime, h->name, 0);
		unlinkat(h->runtime, h->lock, 0); /* who waits for it sees that it is gone: meet() */
		return true;
	}
	flock(h->start, LOCK_UN);
	return false;
}

static void serve(struct host *h)
{
	struct pollfd fds[MEMBERS_MAX + 2];

	while (!feed_ended(&h->feed)) {
		fds[0] = (struct pollfd){.fd = h->listener, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = h->messages, .events = POLLIN};
		for (size_t i = 0; i < h->count; i++)
			fds[i + 2] = (struct pollfd){.fd = h->members[i], .events = POLLIN};
		/* SIGCHLD, of a feed that ends, interrupts it; were it to come just before, it is seen a second later. */
		if (poll(fds, h->count + 2, 1000) < 0 && errno != EINTR)
			return;
		if (fds[1].revents)
			pass_messages_on(h);
		for (size_t i = h->count; i-- > 0;)
			if (fds[i + 2].revents) { /* they say nothing: it is their end */
				close(h->members[i]);
				h->members[i] = h->members[--h->count];
			}
		if (fds[0].revents & POLLIN)
			welcome(h);
		if (!h->count && may_end(h))
			return;
	}
}

static char *error_report(const struct err *e)
{
	json_t *about = json_pack("{s:s}", "error", e->text);
	char *text = about ? json_dumps(about, JSON_COMPACT) : NULL;

	json_decref(about);
	return text;
}

static char *disk_report(const struct feed *f)
{
	char root[HASH_HEX_MAX];
	json_t *about;
	char *text;

	hash_hex(&f->image.root, root);
	about = json_pack("{s:s?, s:s?, s:s, s:I, s:s}", "cmdline", f->cmdline, "file", f->file, "name", f->image.name, "version",
		(json_int_t)f->image.version, "root", root);
	text = about ? json_dumps(about, JSON_COMPACT) : NULL;

	json_decref(about);
	return text;
}

/* A folder for the mount, in a tmpfs of our own or below the runtime folder. */
static char *make_dir(const char *runtime, bool isolated, struct err *e)
{
	bool own = isolated && !mount("inetboot", runtime, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700");
	char *dir = file_path(own ? "%s/disk" : "%s/disk.XXXXXX", runtime);

	if (!dir || (own ? mkdir(dir, 0700) < 0 : !mkdtemp(dir))) {
		err_errno(e, "cannot make a folder for the disk");
		free(dir);
		return NULL;
	}
	return dir;
}

static int open_disk(struct host *h, const char *link, const struct image_options *o, const char *runtime, int to, char **dir, struct err *e)
{
	int r;

	*dir = make_dir(runtime, !namespaces_enter(NULL), e);
	if (!*dir)
		return -EIO;
	r = feed_start(&h->feed, link, o, NULL, *dir, to, 0, e);
	if (r < 0)
		return r;
	h->disk = open(h->feed.disk, O_PATH | O_CLOEXEC);
	h->status = open(h->feed.status, O_PATH | O_CLOEXEC);
	return h->disk < 0 || h->status < 0 ? err_errno(e, "cannot open the disk") : 0;
}

static void nothing(int number)
{
}

__attribute__((noreturn)) static void run(struct host *h, const char *link, const struct image_options *o, const char *runtime)
{
	_cleanup_free_ char *dir = NULL;
	struct err e = ERR_INIT;
	int fds[2];

	setsid();
	prctl(PR_SET_NAME, "inetboot-disk");
	signal(SIGINT, SIG_IGN); /* it ends with its last machine */
	signal(SIGCHLD, nothing);
	if (pipe2(fds, O_CLOEXEC) < 0)
		_exit(1);
	h->messages = fds[0];
	fcntl(h->messages, F_SETFL, O_NONBLOCK);
	h->report = open_disk(h, link, o, runtime, fds[1], &dir, &e) < 0 ? error_report(&e) : disk_report(&h->feed);
	close(fds[1]);
	if (h->report && h->disk >= 0)
		serve(h);
	else if (h->report)
		welcome(h);
	/* Members go first: to them the end is an end, not an error of reading. */
	for (size_t i = 0; i < h->count; i++)
		close(h->members[i]);
	close(h->disk);
	close(h->status);
	feed_stop(&h->feed);
	if (dir)
		rmdir(dir);
	_exit(0);
}

/* ---- a member ---- */

/* What tells feeds apart. */
static int name_of(char out[32], const char *link, const struct image_options *o, struct err *e)
{
	_cleanup_free_ char *cache = o->no_cache ? NULL : image_cache_dir(o, NULL);
	_cleanup_free_ char *text = file_path("%s\n%s\n%d%d%d%d", link, cache ? cache : "", o->insecure, o->strict, o->fill, o->play);
	char hex[HASH_HEX_MAX];
	struct hash h;

	if (!text)
		return err_set(e, -ENOMEM, "no memory");
	hash_of(&h, text, strlen(text));
	hash_hex(&h, hex);
	snprintf(out, 32, "disk-%.16s", hex);
	return 0;
}

static int open_socket(struct sockaddr_un *a, const char *runtime, const char *name)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(a->sun_path, sizeof(a->sun_path), "%s/%s", runtime, name);
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

/* Listens already when it returns; serves when the disk is there. */
static int start(const char *link, const struct image_options *o, const char *runtime, const char *name, struct err *e)
{
	struct host h = {.disk = -1, .status = -1, .messages = -1, .feed = {.pid = -1}};
	_cleanup_free_ char *lock = file_path("%s/%s.start", runtime, name);
	struct sockaddr_un a;
	int listener = open_socket(&a, runtime, name), r = 0;
	pid_t pid;

	unlink(a.sun_path);
	if (!lock || listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, MEMBERS_MAX) < 0) {
		r = err_errno(e, "cannot listen at %s", a.sun_path);
		cleanup_close(&listener);
		return r;
	}
	fflush(NULL);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (fork()) /* nobody's child: the machine ends all of its own */
			_exit(0);
		dup2(listener, 3);
		close_range(4, ~0U, 0);
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		h.listener = 3;
		fcntl(3, F_SETFD, FD_CLOEXEC);
		fcntl(3, F_SETFL, O_NONBLOCK);
		h.runtime = open(runtime, O_PATH | O_CLOEXEC);
		h.start = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		strcpy(h.name, name);
		snprintf(h.lock, sizeof(h.lock), "%s.start", name);
		if (h.start < 0 || h.runtime < 0)
			_exit(1);
		run(&h, link, o, runtime);
	}
	close(listener);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return pid < 0 ? err_errno(e, "cannot start the disk") : 0;
}

/* Connects, under the lock; starts it where nobody answers. */
static int meet(struct shared_feed *f, const char *link, const struct image_options *o, const char *name, struct err *e)
{
	_cleanup_free_ char *runtime = runtime_dir(e), *path = runtime ? file_path("%s/%s.start", runtime, name) : NULL;
	_cleanup_close_ int lock = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
	struct stat ours, there;
	struct sockaddr_un a;
	int r;

	if (!runtime || !path)
		return -EACCES;
	while ((r = lock < 0 ? -1 : flock(lock, LOCK_EX)) < 0 && errno == EINTR)
		;
	/* The one that ended just then took its lock's file with it. */
	if (!r && (stat(path, &there) < 0 || fstat(lock, &ours) < 0 || ours.st_ino != there.st_ino))
		return -EAGAIN;
	f->connection = open_socket(&a, runtime, name);
	if (r < 0 || f->connection < 0)
		return err_errno(e, "cannot take the lock %s", path);
	if (!connect(f->connection, (struct sockaddr *)&a, sizeof(a)))
		return 0;
	if (errno != ECONNREFUSED && errno != ENOENT)
		return err_errno(e, "cannot connect to the disk at %s", a.sun_path);
	r = start(link, o, runtime, name, e);
	if (!r && connect(f->connection, (struct sockaddr *)&a, sizeof(a)) < 0)
		r = err_errno(e, "cannot connect to the disk at %s", a.sun_path);
	return r;
}

/* Returns the bytes; 0: the end. */
static ssize_t receive(const struct shared_feed *f, char *text, size_t room, int fds[2], size_t *count)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {text, room};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	ssize_t n;

	do
		n = recvmsg(f->connection, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	c = CMSG_FIRSTHDR(&m);
	*count = n > 0 && c && c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
	if (*count)
		memcpy(fds, CMSG_DATA(c), *count * sizeof(int));
	return n;
}

static int take_report(struct shared_feed *f, const char *text, size_t len, struct err *e)
{
	json_t *about = json_loadb(text, len, 0, NULL);
	const char *error = json_string_value(json_object_get(about, "error"));
	const char *cmdline = json_string_value(json_object_get(about, "cmdline"));
	const char *file = json_string_value(json_object_get(about, "file"));
	int r = 0;

	if (error)
		r = err_set(e, -EIO, "%s", error);
	else if (!about || f->disk < 0 || f->status < 0)
		r = err_set(e, -EIO, "the process that feeds the disk said nothing that makes sense");
	if (!r) {
		f->cmdline = cmdline ? strdup(cmdline) : NULL;
		f->file = file ? strdup(file) : NULL;
		feed_read_image(about, &f->image);
		if ((cmdline && !f->cmdline) || (file && !f->file))
			r = err_set(e, -ENOMEM, "no memory");
	}
	json_decref(about);
	return r;
}

/* -EAGAIN: it ended just then. */
static int wait_for_report(struct shared_feed *f, uint64_t until_ms, struct err *e)
{
	_cleanup_free_ char *text = malloc(REPORT_MAX);
	struct pollfd wait = {.fd = f->connection, .events = POLLIN};
	int fds[2] = {-1, -1}, r = 0;
	size_t count;
	ssize_t n;

	while (!r || (r < 0 && errno == EINTR)) {
		uint64_t now = clock_ms();

		if (until_ms && now >= until_ms)
			return err_set(e, -ETIMEDOUT, "the disk was not there within the time limit");
		r = poll(&wait, 1, until_ms && until_ms - now < 60000 ? (int)(until_ms - now) : 60000);
	}
	n = text ? receive(f, text, REPORT_MAX, fds, &count) : -1;
	if (n <= 0)
		return -EAGAIN;
	f->disk = fds[0];
	f->status = fds[1];
	return take_report(f, text, (size_t)n, e);
}

int shared_feed_join(struct shared_feed *f, const char *link, const struct image_options *o, uint64_t until_ms, struct err *e)
{
	char name[32];
	int r = name_of(name, link, o, e);

	*f = (struct shared_feed)SHARED_FEED_INIT;
	if (r < 0)
		return r;
	r = -EAGAIN;
	for (int i = 0; r == -EAGAIN && i < JOIN_TRIES; i++) {
		shared_feed_leave(f);
		r = meet(f, link, o, name, e);
		if (!r)
			r = wait_for_report(f, until_ms, e);
	}
	return r == -EAGAIN ? err_set(e, -EIO, "the process that feeds the disk ended without a word") : r;
}

int shared_feed_listen(const struct shared_feed *f)
{
	char text[MESSAGE_MAX];
	ssize_t n = recv(f->connection, text, sizeof(text), MSG_DONTWAIT);

	if (n > 0)
		file_write(STDERR_FILENO, text, (size_t)n);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)) ? 0 : -EPIPE;
}

void shared_feed_leave(struct shared_feed *f)
{
	cleanup_close(&f->connection);
	cleanup_close(&f->disk);
	cleanup_close(&f->status);
	free(f->cmdline);
	free(f->file);
	*f = (struct shared_feed)SHARED_FEED_INIT;
}
