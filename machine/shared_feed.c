/* One feed for several machines: see shared_feed.h. */
#include "machine/shared_feed.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/passing.h"
#include "base/runtime_dir.h"
#include "base/sha256.h"
#include "base/unix_socket.h"
#include "machine/namespaces.h"

#define MEMBERS_MAX 200
#define MESSAGE_MAX 4096
#define JOIN_TRIES 20 /* each time one ended just then */

/* ---- the process that has the feed ---- */

struct host {
	int runtime; /* the folder, O_PATH: our own may hide its name */
	int listener, start;
	char name[32], lock[40]; /* of the socket; of the lock */
	struct feed feed;
	int disk, status, messages;
	const char *report;
	int members[MEMBERS_MAX];
	size_t count;
};

/* The report with the disk, then the status; or a report of an error alone. */
static int send_report(const struct host *h, int to)
{
	size_t len = strlen(h->report);
	int r;

	if (h->disk < 0)
		return send(to, h->report, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
	r = passing_send(to, h->report, len, h->disk, MSG_DONTWAIT);
	return r < 0 ? r : passing_send(to, "", 1, h->status, MSG_DONTWAIT);
}

/* Those who wait at the socket become members. */
static void welcome(struct host *h)
{
	int fd;

	while ((fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		if (h->count < MEMBERS_MAX && !send_report(h, fd))
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
		send(h->members[i], text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT); /* who does not read them misses them */
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

	while (!child_ended(h->feed.pid)) {
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

static int open_disk(struct host *h, const char *link, const struct image_options *o, const char *runtime, int to, char **dir, struct err *e)
{
	int r;

	*dir = namespaces_folder(runtime, !namespaces_enter(NULL), e);
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
	h->report = open_disk(h, link, o, runtime, fds[1], &dir, &e) < 0 ? feed_error_report(&e) : h->feed.report;
	close(fds[1]);
	if (h->report && h->disk >= 0)
		serve(h);
	else if (h->report)
		welcome(h);
	/* Members go first: to them the end is an end, not an error of reading. */
	for (size_t i = 0; i < h->count; i++)
		close(h->members[i]);
	cleanup_close(&h->disk);
	cleanup_close(&h->status);
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

/* Listens already when it returns; serves when the disk is there. */
static int start(const char *link, const struct image_options *o, const char *runtime, const char *name, const char *path, struct err *e)
{
	struct host h = {.disk = -1, .status = -1, .messages = -1, .feed = {.pid = -1}};
	_cleanup_free_ char *lock = file_path("%s/%s.start", runtime, name);
	_cleanup_close_ int listener = -1;
	pid_t pid;

	if (!lock)
		return err_set(e, -ENOMEM, "no memory");
	unlink(path);
	listener = unix_listen(path, SOCK_SEQPACKET, MEMBERS_MAX);
	if (listener < 0)
		return err_errno(e, "cannot listen at %s", path);
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
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return pid < 0 ? err_errno(e, "cannot start the disk") : 0;
}

/* Connects, under the lock; starts it where nobody answers. */
static int meet(struct shared_feed *f, const char *link, const struct image_options *o, const char *name, struct err *e)
{
	_cleanup_free_ char *runtime = runtime_dir(e), *path = runtime ? file_path("%s/%s", runtime, name) : NULL;
	_cleanup_free_ char *lock_path = path ? file_path("%s.start", path) : NULL;
	_cleanup_close_ int lock = lock_path ? file_lock(lock_path, LOCK_EX) : -EACCES;
	struct stat ours, there;
	int r = 0;

	if (!runtime)
		return -EACCES;
	if (lock < 0)
		return err_set(e, lock, "cannot take the lock %s.start: %s", path ? path : name, strerror(-lock));
	/* The one that ended just then took its lock's file with it. */
	if (stat(lock_path, &there) < 0 || fstat(lock, &ours) < 0 || ours.st_ino != there.st_ino)
		return -EAGAIN;
	f->connection = unix_connect(path, SOCK_SEQPACKET);
	if (f->connection == -ECONNREFUSED || f->connection == -ENOENT) {
		r = start(link, o, runtime, name, path, e);
		f->connection = r < 0 ? -1 : unix_connect(path, SOCK_SEQPACKET);
	}
	return r < 0 || f->connection >= 0 ? r : err_errno(e, "cannot connect to the disk at %s", path);
}

/* The report, and the two files that come with it. Returns 0 at the end. */
static ssize_t receive(struct shared_feed *f, char *text)
{
	char byte;
	ssize_t n = passing_receive(f->connection, text, FEED_REPORT_MAX, &f->disk, 0);

	if (n > 0 && f->disk >= 0 && passing_receive(f->connection, &byte, 1, &f->status, 0) < 1)
		n = 0;
	return n;
}

/* -EAGAIN: it ended just then. */
static int read_report(struct shared_feed *f, const struct image_options *o, struct err *e)
{
	_cleanup_free_ char *text = malloc(FEED_REPORT_MAX);
	ssize_t n = text ? receive(f, text) : -1;
	int r;

	if (n <= 0)
		return -EAGAIN;
	r = feed_take_report(&f->feed, text, (size_t)n, o, e);
	return r < 0 || f->status >= 0 ? r : err_set(e, -EIO, "the process that feeds the disk handed nothing over");
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
			r = feed_wait(f->connection, until_ms, e);
		if (!r)
			r = read_report(f, o, e);
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
	feed_stop(&f->feed);
	*f = (struct shared_feed)SHARED_FEED_INIT;
}
