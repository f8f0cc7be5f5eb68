/* Mounting: see mountpoint.h. libfuse mounts; the rest is our own, because the file system is taken down by another program than the one
 * that mounted it when there was a hand-over in between. */
#define FUSE_USE_VERSION 312
#include "export/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <libgen.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mounts.h"
#include "base/text.h"

#define READAHEAD_KB 1024

/* The device number of what is mounted at an absolute path. */
static bool find_number(const char *path, unsigned number[2])
{
	_cleanup_fclose_ FILE *list = mounts_open();
	_cleanup_(mounts_free) struct mount_entry m = {0};
	bool found = false;

	while (list && mounts_next(list, &m)) {
		if (strcmp(m.dir, path) != 0)
			continue;
		found = text_starts(m.type, "fuse"); /* the last one lies on top */
		number[0] = m.major;
		number[1] = m.minor;
	}
	return found;
}

/* The path with all but its last component resolved: that one is the mount itself. */
static char *path_without_asking(const char *dir)
{
	_cleanup_free_ char *copy = strdup(dir), *again = strdup(dir), *parent = NULL;
	const char *name = copy ? basename(copy) : "/";

	if (!again || !strcmp(name, "/") || !strcmp(name, ".") || !strcmp(name, ".."))
		return realpath(dir, NULL);
	parent = realpath(dirname(again), NULL);
	return parent ? file_path("%s/%s", strcmp(parent, "/") ? parent : "", name) : NULL;
}

int mountpoint_find(const char *dir, unsigned number[2], char **path)
{
	*path = path_without_asking(dir);
	if (*path && find_number(*path, number))
		return 0;
	free(*path);
	*path = realpath(dir, NULL); /* the last component may be a symbolic link */
	if (*path && find_number(*path, number))
		return 0;
	free(*path);
	*path = NULL;
	return -ENOENT;
}

static bool is_empty(const char *dir)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	int entries = 0;

	while (d && readdir(d))
		entries++;
	return d && entries <= 2; /* . and .. */
}

static int check(const char *dir, struct err *e)
{
	if (!is_empty(dir))
		return err_set(e, -ENOTEMPTY, "cannot mount at %s: it is no empty folder, and a mount would hide what is in it", dir);
	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return err_errno(e, "cannot mount: /dev/fuse cannot be used by this user (load the module fuse, or give access to the device)");
	return 0;
}

/* libfuse frees its copy of the folder's name only when it unmounts: no leak to report. */
static int session_mount(struct fuse_session *session, const char *dir)
{
	int r;

#ifdef __SANITIZE_ADDRESS__
	__lsan_disable();
#endif
	r = fuse_session_mount(session, dir);
#ifdef __SANITIZE_ADDRESS__
	__lsan_enable();
#endif
	return r;
}

/* A session just for this: it brings what libfuse knows about options and fusermount3. The mount does not go with it. */
static int mount_at(const char *dir, bool allow_other, struct err *e)
{
	static const struct fuse_lowlevel_ops none;
	char options[128];
	char *argv[] = {(char *)"inetboot", (char *)"-o", options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_session *session;
	int device = -1;

	snprintf(options, sizeof(options), "ro,fsname=inetboot,subtype=inetboot%s", allow_other ? ",allow_other" : "");
	session = fuse_session_new(&args, &none, sizeof(none), NULL);
	fuse_opt_free_args(&args);
	/* Where libfuse (3.14) has no memory it may report success, and standard input as the device. */
	if (session && !session_mount(session, dir) && fuse_session_fd(session) > STDERR_FILENO)
		device = fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 3);
	if (session)
		fuse_session_destroy(session);
	if (device < 0)
		return err_set(e, -EIO, "cannot mount at %s (what FUSE says stands above; is the package fuse3 installed?)", dir);
	return device;
}

int mountpoint_open(struct mountpoint *out, const char *dir, bool allow_other, struct err *e)
{
	_cleanup_free_ char *path = realpath(dir, NULL);
	int r;

	if (!path)
		return err_errno(e, "cannot mount at %s", dir);
	r = check(path, e);
	if (!r)
		r = mount_at(path, allow_other, e);
	if (r < 0)
		return r;
	*out = (struct mountpoint){.dir = steal_ptr(path), .device = r};
	find_number(out->dir, out->number);
	return 0;
}

int mountpoint_adopt(struct mountpoint *out, const char *dir, int device, struct err *e)
{
	char *copy = strdup(dir);

	if (!copy)
		return err_set(e, -ENOMEM, "no memory for a mount");
	fcntl(device, F_SETFD, FD_CLOEXEC);
	*out = (struct mountpoint){.dir = copy, .device = device};
	find_number(out->dir, out->number);
	return 0;
}

bool mountpoint_gone(const struct mountpoint *m)
{
	struct pollfd wait = {.fd = m->device};

	return poll(&wait, 1, 0) == 1 && wait.revents & (POLLERR | POLLNVAL);
}

void mountpoint_raise_readahead(const struct mountpoint *m)
{
	char path[96];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", m->number[0], m->number[1]);
	f = m->number[0] || m->number[1] ? fopen(path, "we") : NULL;
	if (f)
		fprintf(f, "%d", READAHEAD_KB);
}

bool mountpoint_needs_no_help(const struct mountpoint *m)
{
	return !geteuid();
}

static void run_fusermount(const char *dir)
{
	char *argv[] = {(char *)"fusermount3", (char *)"-u", (char *)"-q", (char *)"-z", (char *)"--", (char *)dir, NULL};
	pid_t pid;
	int r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

	if (r) {
		log_warning("%s stays mounted: cannot run fusermount3: %s", dir, strerror(r));
		return;
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void mountpoint_close(struct mountpoint *m)
{
	bool there = m->device >= 0 && !mountpoint_gone(m);

	if (m->device >= 0)
		close(m->device); /* before: a process that waits for its own unmount would wait for ever */
	if (there && umount2(m->dir, MNT_DETACH) < 0)
		run_fusermount(m->dir);
	free(m->dir);
	*m = (struct mountpoint)MOUNTPOINT_NONE;
}
