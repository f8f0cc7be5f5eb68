/* Caches on media: see medium.h. */
#include "cache/medium.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mounts.h"
#include "base/text.h"

/* fuseblk: any driver by FUSE that has a block device below it. Not msdos: it cuts names off after eight characters, so blocks there
 * would neither be counted nor evicted. */
static const char *const types[] = {
	"vfat", "exfat", "fuseblk", "fuse.fusefat", "fuse.exfat", "ext2", "ext3", "ext4"};

#define LOOK_MS 3000 /* a medium that takes longer is no help */

/* What is found out of one. */
struct look {
	int error; /* 0; an errno, ENOENT where there is no such folder */
	bool root; /* on the root file system's device */
	uint64_t free; /* bytes; 0 also where the driver does not tell */
};

struct medium {
	char *dir; /* owned */
	struct look look;
};

static void medium_free(struct medium *m)
{
	free(m->dir);
}

static bool known_type(const char *type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

/* The number shows that nothing else is mounted on top: on the file system, or on the folder. */
static bool has_folder(const struct mount_entry *entry, const char *dir)
{
	struct stat st;

	return !lstat(dir, &st) && S_ISDIR(st.st_mode) && st.st_dev == makedev(entry->major, entry->minor);
}

__attribute__((noreturn)) static void look_in_child(const struct mount_entry *entry, const char *dir, int to)
{
	struct look out = {0};
	struct statvfs fs;
	struct stat root;

	if (!has_folder(entry, dir))
		out.error = ENOENT;
	else if (faccessat(AT_FDCWD, dir, R_OK | W_OK | X_OK, AT_EACCESS) < 0)
		out.error = errno;
	out.root = !stat("/", &root) && root.st_dev == makedev(entry->major, entry->minor);
	if (!out.error && !statvfs(dir, &fs))
		out.free = (uint64_t)fs.f_bavail * fs.f_frsize;
	_exit(file_write(to, &out, sizeof(out)) < 0);
}

/* A driver that hangs must not hang us: a child looks. One that cannot even be killed is left alone; it has no file of ours. */
static int look(const struct mount_entry *entry, const char *dir, struct look *out)
{
	_cleanup_close_ int from = -1, to = -1;
	struct pollfd wait = {.events = POLLIN};
	int fds[2], r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	wait.fd = from = fds[0];
	to = fds[1];
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		dup2(to, 0);
		closefrom(1);
		look_in_child(entry, dir, 0);
	}
	close(steal_fd(&to));
	do
		r = poll(&wait, 1, LOOK_MS);
	while (r < 0 && errno == EINTR);
	r = r > 0 ? file_read(from, out, sizeof(*out)) == sizeof(*out) ? 0 : -EIO : -ETIMEDOUT;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, r == -ETIMEDOUT ? WNOHANG : 0);
	return r;
}

static bool usable(const struct mount_entry *entry, struct medium *m)
{
	int r = look(entry, m->dir, &m->look);

	if (!r && !m->look.error)
		return true;
	if (r == -ETIMEDOUT)
		log_warning("%s (%s) does not answer: not used for the cache", entry->dir, entry->type);
	else if (r < 0 || m->look.error != ENOENT)
		log_info("%s is not used for the cache: %s", m->dir, strerror(r < 0 ? -r : m->look.error));
	return false;
}

static bool is_better(const struct medium *m, const struct medium *than)
{
	if (!than->dir || m->look.root != than->look.root)
		return !than->dir || !m->look.root;
	return m->look.free > than->look.free;
}

static void consider(const struct mount_entry *entry, struct medium *best)
{
	_cleanup_(medium_free) struct medium m = {
		.dir = file_path("%s/" MEDIUM_FOLDER, strcmp(entry->dir, "/") ? entry->dir : "")};
	struct medium other;

	if (!m.dir || !usable(entry, &m) || !is_better(&m, best))
		return;
	other = *best;
	*best = m;
	m = other;
}

int medium_find(char **out, struct err *e)
{
	_cleanup_fclose_ FILE *list = mounts_open();
	_cleanup_(mounts_free) struct mount_entry entry = {0};
	_cleanup_(medium_free) struct medium best = {0};
	char size[TEXT_SIZE_MAX];

	if (!list)
		return err_set(e, -ENOENT,
			"what is attached here cannot be told without /proc: name the folder with "
			"--cache");
	while (mounts_next(list, &entry))
		if (known_type(entry.type))
			consider(&entry, &best);
	if (!best.dir)
		return err_set(e, -ENOENT,
			"no stick or disk (FAT, ext2/3/4) that is mounted here has a "
			"folder " MEDIUM_FOLDER
			" at its top that can be written to: make one there");
	text_size(size, best.look.free);
	log_info("the cache is in %s%s%s%s", best.dir, best.look.free ? ", where " : "",
		best.look.free ? size : "", best.look.free ? " are free" : "");
	*out = steal_ptr(best.dir);
	return 0;
}
