/* Where they meet: see meeting.h. */
#include "network/meeting.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/passing.h"
#include "base/runtime_dir.h"
#include "base/unix_socket.h"

#define WAITING 64 /* guests whose connections were not taken yet */

/* The network's folder, made where it is not there. */
static char *folder_of(const char *name, struct err *e)
{
	_cleanup_free_ char *dir = runtime_dir(e);
	char *path = dir ? file_path("%s/network-%s", dir, name) : NULL;

	if (dir && !path)
		err_set(e, -ENOMEM, "no memory");
	if (!path || !mkdir(path, 0700) || errno == EEXIST)
		return path;
	err_errno(e, "cannot make the network's folder %s", path);
	free(path);
	return NULL;
}

static char *path_in(const char *folder, const char *file, struct err *e)
{
	char *path = folder ? file_path("%s/%s", folder, file) : NULL;

	if (folder && !path)
		err_set(e, -ENOMEM, "no memory");
	return path;
}

static int open_lock(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd;
}

int meeting_open(struct meeting *m, const char *name, struct err *e)
{
	_cleanup_free_ char *folder = folder_of(name, e), *lock = path_in(folder, "lock", e);
	_cleanup_free_ char *join = path_in(folder, "join", e);

	m->path = path_in(folder, NETWORK_SOCKET, e);
	if (!lock || !join || !m->path)
		return -EACCES;
	m->lock = file_lock(lock, LOCK_EX | LOCK_NB);
	if (m->lock == -EWOULDBLOCK)
		return err_set(e, -EADDRINUSE, "a switch of the network %s runs already, at %s",
			name, m->path);
	if (m->lock < 0)
		return err_set(e, m->lock, "cannot take the lock %s: %s", lock, strerror(-m->lock));
	m->join = open_lock(join);
	if (m->join < 0)
		return err_set(e, m->join, "cannot make the lock %s: %s", join, strerror(-m->join));
	unlink(m->path);
	m->listener = unix_listen(m->path, SOCK_SEQPACKET | SOCK_NONBLOCK, WAITING);
	if (m->listener < 0)
		return err_errno(e, "cannot listen at %s", m->path);
	return 0;
}

void meeting_close(struct meeting *m)
{
	cleanup_close(&m->listener);
	cleanup_close(&m->lock);
	cleanup_close(&m->join); /* the last: who waits for it may start another switch */
	free(m->path);
	*m = (struct meeting)MEETING_INIT;
}

int meeting_end(const struct meeting *m)
{
	return flock(m->join, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

void meeting_go_on(const struct meeting *m)
{
	flock(m->join, LOCK_UN);
}

/* Does a switch listen there? 0 or -errno. */
static int probe(const char *path)
{
	_cleanup_close_ int fd = unix_connect(path, SOCK_SEQPACKET);

	return fd < 0 ? fd : 0;
}

int meeting_hand_over(const char *path, int guest, const char *name)
{
	_cleanup_close_ int fd = unix_connect(path, SOCK_SEQPACKET);
	int r = fd < 0 ? fd : passing_send(fd, name, strlen(name) + 1, guest, 0); /* no message is empty */

	return r < 0 ? r : steal_fd(&fd);
}

/* The wire to a guest, or what somebody would have us read as one? */
static bool is_wire(int fd)
{
	int domain, type;
	socklen_t len = sizeof(domain);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX &&
	       !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET;
}

ssize_t meeting_first(int connection, void *message, size_t size, int *guest)
{
	ssize_t n = passing_receive(connection, message, size, guest, MSG_DONTWAIT);

	if (*guest >= 0 && !is_wire(*guest))
		close(steal_fd(guest));
	return n == -EMSGSIZE ? (ssize_t)size + 1 : n;
}

static int cannot_lock(struct err *e, int r, const char *path)
{
	return err_set(e, r, "cannot take the lock %s: %s", path, strerror(-r));
}

int meeting_join(struct membership *m, const char *name,
	int (*start)(const char *name, struct err *e), struct err *e)
{
	_cleanup_free_ char *socket = NULL, *join = NULL, *starting = NULL;
	_cleanup_close_ int lock = -1;
	int r;

	m->folder = folder_of(name, e);
	socket = path_in(m->folder, NETWORK_SOCKET, e);
	join = path_in(m->folder, "join", e);
	starting = path_in(m->folder, "start", e);
	if (!socket || !join || !starting)
		return -EACCES;
	lock = file_lock(starting, LOCK_EX);
	if (lock < 0)
		return cannot_lock(e, lock, starting);
	m->lock = file_lock(join, LOCK_SH);
	if (m->lock < 0)
		return cannot_lock(e, m->lock, join);
	r = probe(socket);
	if (r == -ECONNREFUSED || r == -ENOENT) {
		int started = start(name, e);

		r = probe(socket);
		if (r < 0 && started < 0) /* else another one was faster */
			return started;
	}
	return r < 0 ? err_set(e, r, "cannot connect to the network's switch at %s: %s", socket,
			       strerror(-r))
		     : 0;
}

void membership_end(struct membership *m)
{
	cleanup_close(&m->lock);
	free(m->folder);
	*m = (struct membership)MEMBERSHIP_INIT;
}
