/* Store folders, locks, and what dead publishers leave: see store.h. */
#include "publish/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "format/block.h"
#include "publish/block_files.h"

#define NOTE_MAX 4096
#define NOTE_FOLDER ".publishing"
/* Clocks may be set while a publisher runs: so much older than its note may its blocks look. */
#define CLOCK_SLACK (24 * 3600)
/* For reading what others may have put there: no link is followed, and a FIFO does not block. */
#define PLAIN (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

static int open_folder(struct store *s, const char *path, struct err *e)
{
	s->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0)
		return err_errno(e, "cannot open the store %s", path);
	s->path = realpath(path, NULL);
	return s->path ? 0 : err_errno(e, "cannot find the path of %s", path);
}

static bool has_blocks(const struct store *s)
{
	struct stat st;

	return !fstatat(s->fd, "blocks", &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
}

int store_open(struct store *s, const char *path, struct err *e)
{
	int r;

	*s = (struct store)STORE_INIT;
	r = open_folder(s, path, e);
	if (!r && !has_blocks(s))
		r = err_set(e, -ENOENT, "%s is no store: it has no folder `blocks`", path);
	if (r < 0)
		store_close(s);
	return r;
}

static bool is_empty(int fd)
{
	_cleanup_closedir_ DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *at;

	if (!d)
		return false;
	while ((at = readdir(d)))
		if (at->d_name[0] != '.')
			return false;
	return true;
}

static int open_or_make(struct store *s, const char *path, struct err *e)
{
	int r = file_mkdirs(path, e);

	if (!r)
		r = open_folder(s, path, e);
	if (r < 0 || has_blocks(s))
		return r;
	if (!is_empty(s->fd) && !has_blocks(s)) /* another publisher may have made it just now */
		return err_set(e, -EEXIST,
			"%s is no store, and holds other files: name a new folder", path);
	if (mkdirat(s->fd, "blocks", 0777) < 0 && errno != EEXIST)
		return err_errno(e, "cannot make %s/blocks", path);
	return 0;
}

static int lock_file(int fd, int operation)
{
	while (flock(fd, operation) < 0)
		if (errno != EINTR || cancel_requested())
			return -errno;
	return 0;
}

static int open_lock(struct store *s, struct err *e)
{
	if (s->lock < 0)
		s->lock = openat(s->fd, ".lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	return s->lock < 0 ? err_errno(e, "cannot open %s/.lock", s->path) : 0;
}

/* The machine's boot, or "" where the kernel does not tell. */
static void boot_id(char out[64])
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : file_read(fd, out, 63);

	out[n > 0 ? n : 0] = 0;
	out[strcspn(out, "\n")] = 0;
}

static int write_note(struct store *s, const char *what, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(NOTE_MAX);
	_cleanup_close_ int folder = -1;
	char host[256] = "", boot[64];
	uint8_t id[STORE_ID_LEN / 2];
	int r;

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return err_errno(e, "no random numbers");
	hex_encode(s->id, id, sizeof(id));
	gethostname(host, sizeof(host) - 1);
	boot_id(boot);
	r = buf_printf(&text, "boot %s\nwho process %ld on %s, publishing %s\n", boot,
		(long)getpid(), host, what);
	if (r < 0)
		return err_set(e, r, "no memory for the publisher's note");
	if (mkdirat(s->fd, NOTE_FOLDER, 0777) < 0 && errno != EEXIST)
		return err_errno(e, "cannot make %s/" NOTE_FOLDER, s->path);
	folder = openat(s->fd, NOTE_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (folder < 0)
		return err_errno(e, "cannot open %s/" NOTE_FOLDER, s->path);
	/* So that nobody sees it before it is locked, and takes it for that of a dead one. */
	lock_file(folder, LOCK_EX);
	s->note = openat(folder, s->id, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (s->note < 0)
		return err_errno(e, "cannot write to %s/" NOTE_FOLDER, s->path);
	r = lock_file(s->note, LOCK_EX);
	if (!r)
		r = file_write(s->note, text.data, text.len);
	/* Durable before any block, or a crash could leave torn blocks and no note. */
	if (!r && (fsync(s->note) < 0 || fsync(folder) < 0 || fsync(s->fd) < 0))
		r = -errno;
	return r < 0 ? err_set(e, r, "cannot write to %s/" NOTE_FOLDER ": %s", s->path,
			       strerror(-r))
		     : 0;
}

struct note {
	char id[STORE_ID_LEN + 1];
	bool dead;
	bool other_boot;
	time_t time;
	char who[256];
};

static void note_field(const char *text, const char *key, char *out, size_t room)
{
	const char *at = strstr(text, key);
	size_t len;

	out[0] = 0;
	if (!at)
		return;
	at += strlen(key);
	len = strcspn(at, "\n");
	snprintf(out, room, "%.*s", (int)(len < room ? len : room - 1), at);
}

/* Reads one note. false: it is gone, or is none. */
static bool read_note(struct store *s, const char *id, struct note *out)
{
	_cleanup_free_ char *path = file_path(NOTE_FOLDER "/%s", id);
	_cleanup_close_ int fd = path ? openat(s->fd, path, PLAIN) : -1;
	char text[NOTE_MAX], boot[64], now[64];
	struct stat st;
	ssize_t n;

	if (fd < 0 || strlen(id) != STORE_ID_LEN || fstat(fd, &st) < 0 ||
		!S_ISREG(st.st_mode))
		return false;
	*out = (struct note){.time = st.st_mtime};
	memcpy(out->id, id, STORE_ID_LEN + 1);
	/* Shared, so that two who look do not see each other as the living owner. */
	out->dead = !flock(fd, LOCK_SH | LOCK_NB);
	n = file_read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	note_field(text, "boot ", boot, sizeof(boot));
	note_field(text, "who ", out->who, sizeof(out->who));
	boot_id(now);
	out->other_boot = !*now || strcmp(boot, now);
	return true;
}

/* Calls visit for every note but our own until it returns other than 0. */
static int each_note(
	struct store *s, int (*visit)(struct store *, const struct note *, void *), void *context)
{
	int fd = openat(s->fd, NOTE_FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *at;
	struct note note;
	int r = 0;

	if (!d && fd >= 0)
		close(fd);
	else if (d)
		lock_file(fd, LOCK_SH);
	while (!r && d && (at = readdir(d)))
		if (at->d_name[0] != '.' && strcmp(at->d_name, s->id) &&
			read_note(s, at->d_name, &note))
			r = visit(s, &note, context);
	return r;
}

static void remove_note(struct store *s, const char *id)
{
	_cleanup_free_ char *path = file_path(NOTE_FOLDER "/%s", id);

	if (path)
		unlinkat(s->fd, path, 0);
}

struct damage {
	time_t since; /* 0: none */
};

static int find_damage(struct store *s, const struct note *n, void *context)
{
	struct damage *d = context;

	if (n->dead && n->other_boot && (!d->since || n->time < d->since))
		d->since = n->time;
	return 0;
}

static int bury(struct store *s, const struct note *n, void *context)
{
	const bool *also_other_boots = context;

	if (!n->dead || (n->other_boot && !*also_other_boots))
		return 0;
	log_debug("cleaning up after %s", *n->who ? n->who : n->id);
	block_files_remove_temporary(s->fd, n->id);
	remove_note(s, n->id);
	return 0;
}

static int say_who(struct store *s, const struct note *n, void *context)
{
	if (!n->dead)
		log_info("waiting for %s", n->who);
	return 0;
}

int store_lock_exclusive(struct store *s, struct err *e)
{
	int r = open_lock(s, e);

	if (r < 0)
		return r;
	r = lock_file(s->lock, LOCK_EX | LOCK_NB);
	if (r == -EWOULDBLOCK) {
		log_info("waiting until nobody else works in %s", s->path);
		each_note(s, say_who, NULL);
		r = lock_file(s->lock, LOCK_EX);
	}
	return r < 0 ? err_set(e, r, "cannot lock %s: %s", s->path, strerror(-r)) : 0;
}

void store_lock_shared(struct store *s)
{
	s->lock = openat(s->fd, ".lock", PLAIN);
	if (s->lock >= 0)
		lock_file(s->lock, LOCK_SH);
}

/* After a power failure: alone in the store, checks what may be torn. */
static int recover(struct store *s, struct err *e)
{
	struct damage d = {0};
	bool also_other_boots = true;
	int r;

	each_note(s, find_damage, &d);
	if (!d.since)
		return 0;
	r = store_lock_exclusive(s, e);
	if (r < 0)
		return r;
	d.since = 0; /* somebody may have done it while we waited */
	each_note(s, find_damage, &d);
	if (d.since) {
		log_info("the machine went down while %s was being written: checking its newest "
			 "blocks",
			s->path);
		r = block_files_remove_torn(s->fd, d.since - CLOCK_SLACK, e);
		if (!r)
			r = store_sync(s, e);
		if (!r)
			each_note(s, bury, &also_other_boots);
	}
	return r;
}

int store_open_publish(struct store *s, const char *path, const char *what, struct err *e)
{
	bool also_other_boots = false;
	int r;

	*s = (struct store)STORE_INIT;
	r = open_or_make(s, path, e);
	if (!r)
		r = recover(s, e);
	if (!r)
		r = open_lock(s, e);
	if (!r && flock(s->lock, LOCK_SH | LOCK_NB) < 0) {
		log_info("waiting until a gc of %s has ended", s->path);
		r = lock_file(s->lock, LOCK_SH);
		if (r < 0)
			err_set(e, r, "cannot lock %s: %s", s->path, strerror(-r));
	}
	if (!r)
		r = write_note(s, what, e);
	if (!r)
		each_note(s, bury, &also_other_boots);
	if (r < 0)
		store_close(s);
	return r;
}

int store_sync(struct store *s, struct err *e)
{
	return syncfs(s->fd) < 0
		       ? err_errno(e, "cannot write the blocks of %s to the disk", s->path)
		       : 0;
}

/* The note goes when the blocks are durable. Where they cannot be, it stays and, emptied, names no
 * boot: the next publisher then checks what this one wrote. */
static void close_note(struct store *s)
{
	if (syncfs(s->fd) == 0)
		remove_note(s, s->id);
	else if (ftruncate(s->note, 0) < 0)
		log_warning("cannot write to %s: %s", s->path, strerror(errno));
}

void store_close(struct store *s)
{
	if (s->note >= 0) {
		close_note(s);
		close(s->note);
	}
	if (s->lock >= 0)
		close(s->lock);
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	*s = (struct store)STORE_INIT;
}

int store_lock_name(struct store *s, const char *name, struct err *e)
{
	_cleanup_free_ char *path = file_path("%s/.lock", name);
	int fd, r;

	if (!path)
		return err_set(e, -ENOMEM, "no memory for a path");
	if (mkdirat(s->fd, name, 0777) < 0 && errno != EEXIST)
		return err_errno(e, "cannot make %s/%s", s->path, name);
	fd = openat(s->fd, path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_errno(e, "cannot open %s/%s", s->path, path);
	r = lock_file(fd, LOCK_EX);
	if (r < 0) {
		close(fd);
		return err_set(e, r, "cannot lock %s/%s: %s", s->path, path, strerror(-r));
	}
	return fd;
}
