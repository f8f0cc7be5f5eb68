/* FUSE export on libfuse's low-level interface: see fuse.h. Inodes: 1 the folder, 2 `disk`, 3 `status`. The content never changes, so
 * names and attributes are valid for a day.
 *
 * Nothing in this process may touch the mount: a process that is killed while it waits for an answer of its own stays for ever,
 * and holds the connection open. So the loop is woken up by a signal, and the mount's device number is read from /proc. */
#define FUSE_USE_VERSION 312
#include "export/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/room.h"
#include "export/pending.h"

#define INODE_DISK 2
#define INODE_STATUS 3
#define VALID_S 86400.0
#define THREADS 48	  /* more than BACKGROUND, so that `status` answers while reads wait for the network */
#define BACKGROUND 32	  /* the kernel's readahead requests at once */
#define READ_MAX (1u << 20) /* bytes of one request: the kernel's own bound */
#define READAHEAD_KB 1024 /* of the kernel, where we may set it */
#define WAKE_MS 20

struct fuse_export {
	struct fuse_export_options o;
	struct fuse_session *session;
	char *dir;
	bool mounted;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	pthread_t loop;
	bool running, ended;
	struct status_text *texts; /* of open status files */
	struct pending_reads pending; /* while it runs */
	struct room buffers; /* of reads */
};

struct status_text {
	struct status_text *prev, *next;
	char *text;
};

static void fill_attr(const struct fuse_export *x, fuse_ino_t inode, struct stat *st)
{
	*st = (struct stat){.st_ino = inode, .st_uid = getuid(), .st_gid = getgid(), .st_blksize = 4096};
	st->st_mtime = st->st_ctime = st->st_atime = x->o.mtime;
	switch (inode) {
	case FUSE_ROOT_ID:
		st->st_mode = S_IFDIR | 0555;
		st->st_nlink = 2;
		break;
	case INODE_DISK:
		st->st_mode = S_IFREG | 0444;
		st->st_nlink = 1;
		st->st_size = (off_t)disk_size(x->o.disk);
		st->st_blocks = st->st_size / 512;
		break;
	default:
		st->st_mode = S_IFREG | 0444;
		st->st_nlink = 1;
	}
}

static void op_init(void *user, struct fuse_conn_info *conn)
{
	conn->max_background = BACKGROUND;
	conn->congestion_threshold = BACKGROUND;
	conn->max_readahead = READ_MAX;
	conn->want |= conn->capable & FUSE_CAP_ASYNC_READ;
	conn->want &= ~FUSE_CAP_ASYNC_DIO; /* such a read past the page cache could not even be killed while the network is gone */
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_export *x = fuse_req_userdata(req);
	struct fuse_entry_param entry = {.attr_timeout = VALID_S, .entry_timeout = VALID_S};

	if (parent == FUSE_ROOT_ID && !strcmp(name, "disk"))
		entry.ino = INODE_DISK;
	else if (parent == FUSE_ROOT_ID && !strcmp(name, "status"))
		entry.ino = INODE_STATUS;
	if (!entry.ino) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill_attr(x, entry.ino, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void op_getattr(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	struct stat st;

	fill_attr(fuse_req_userdata(req), inode, &st);
	fuse_reply_attr(req, &st, VALID_S);
}

static void op_readdir(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	static const struct {
		const char *name;
		fuse_ino_t inode;
		mode_t mode;
	} entries[] = {{".", FUSE_ROOT_ID, S_IFDIR}, {"..", FUSE_ROOT_ID, S_IFDIR}, {"disk", INODE_DISK, S_IFREG}, {"status", INODE_STATUS, S_IFREG}};
	char out[512];
	size_t used = 0, room = size < sizeof(out) ? size : sizeof(out);

	for (size_t i = (size_t)offset; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct stat st = {.st_ino = entries[i].inode, .st_mode = entries[i].mode};
		size_t need = fuse_add_direntry(req, out + used, room - used, entries[i].name, &st, (off_t)i + 1);

		if (need > room - used)
			break;
		used += need;
	}
	fuse_reply_buf(req, out, used);
}

static void drop_text(struct fuse_export *x, struct status_text *t)
{
	pthread_mutex_lock(&x->lock);
	if (t->prev)
		t->prev->next = t->next;
	else
		x->texts = t->next;
	if (t->next)
		t->next->prev = t->prev;
	pthread_mutex_unlock(&x->lock);
	free(t->text);
	free(t);
}

static void open_status(fuse_req_t req, struct fuse_file_info *fi)
{
	struct fuse_export *x = fuse_req_userdata(req);
	struct status_text *t = calloc(1, sizeof(*t));

	if (t)
		t->text = x->o.status ? x->o.status(x->o.context) : strdup("{}\n");
	if (!t || !t->text) {
		free(t);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&x->lock);
	t->next = x->texts;
	if (t->next)
		t->next->prev = t;
	x->texts = t;
	pthread_mutex_unlock(&x->lock);
	fi->fh = (uint64_t)(uintptr_t)t;
	fi->direct_io = 1;
	if (fuse_reply_open(req, fi) < 0)
		drop_text(x, t);
}

static void op_open(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
	} else if (inode == INODE_STATUS) {
		open_status(req, fi);
	} else {
		fi->keep_cache = 1;
		fuse_reply_open(req, fi);
	}
}

static void op_release(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	if (inode == INODE_STATUS)
		drop_text(fuse_req_userdata(req), (struct status_text *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static void answer_read(fuse_req_t req, uint64_t offset, const void *data, size_t len, int r, const struct err *e)
{
	if (!r) {
		fuse_reply_buf(req, data, len);
		return;
	}
	if (r != -ECANCELED)
		log_error("a read of %zu bytes at byte %llu failed: %s", len, (unsigned long long)offset, e->text);
	fuse_reply_err(req, r == -ECANCELED ? EINTR : EIO);
}

static void read_disk(fuse_req_t req, struct fuse_export *x, size_t size, uint64_t offset)
{
	uint64_t end = disk_size(x->o.disk);
	size_t len = offset >= end ? 0 : end - offset < size ? (size_t)(end - offset) : size;
	struct pending_read pending;
	struct err e = ERR_INIT;
	void *data = NULL;
	int r = 0;

	pending_begin(&x->pending, &pending, req);
	room_take(&x->buffers, len);
	if (len) {
		data = malloc(len);
		r = data ? disk_read(x->o.disk, data, len, offset, &e) : err_set(&e, -ENOMEM, "no memory");
	}
	if (pending_end(&pending))
		answer_read(req, offset, data, len, r, &e);
	free(data);
	room_give(&x->buffers, len);
}

/* Of a copy: the file may be released as soon as the kernel has the answer, before the call that gives it returns. */
static void read_status(fuse_req_t req, const struct status_text *t, size_t size, size_t offset)
{
	_cleanup_free_ char *copy = strdup(t->text);
	size_t len = copy ? strlen(copy) : 0, from = offset < len ? offset : len;

	if (copy)
		fuse_reply_buf(req, copy + from, len - from < size ? len - from : size);
	else
		fuse_reply_err(req, ENOMEM);
}

static void op_read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	if (inode == INODE_DISK) {
		read_disk(req, fuse_req_userdata(req), size < READ_MAX ? size : READ_MAX, (uint64_t)offset);
	} else {
		read_status(req, (struct status_text *)(uintptr_t)fi->fh, size, (size_t)offset);
	}
}

static void op_statfs(fuse_req_t req, fuse_ino_t inode)
{
	struct fuse_export *x = fuse_req_userdata(req);
	struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255, .f_files = 2};

	st.f_blocks = disk_size(x->o.disk) / 4096;
	fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.readdir = op_readdir,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.statfs = op_statfs,
};

/* Names in mountinfo have spaces and their like as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && strspn(text + 1, "01234567") >= 3) {
			*to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = 0;
}

/* The device number of what is mounted at dir, without asking the mount. */
static bool find_device(const char *dir, unsigned device[2])
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t room = 0;
	bool found = false;

	while (f && getline(&line, &room, f) > 0) {
		_cleanup_free_ char *at = NULL;
		unsigned major, minor;

		if (sscanf(line, "%*u %*u %u:%u %*s %ms", &major, &minor, &at) != 3)
			continue;
		unescape(at);
		if (strcmp(at, dir) != 0)
			continue;
		device[0] = major;
		device[1] = minor;
		found = true; /* the last one lies on top */
	}
	return found;
}

/* The kernel reads 128 KiB ahead whatever is negotiated, until the mount's own setting is raised; that takes root. */
static void raise_readahead(const char *dir)
{
	char path[96], value[16];
	unsigned device[2];
	FILE *f;

	if (!find_device(dir, device))
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", device[0], device[1]);
	snprintf(value, sizeof(value), "%d", READAHEAD_KB);
	f = fopen(path, "we");
	if (!f)
		return;
	fputs(value, f);
	fclose(f);
}

static bool is_empty(const char *dir)
{
	_cleanup_closedir_ DIR *d = opendir(dir);
	int entries = 0;

	while (d && readdir(d))
		entries++;
	return d && entries <= 2; /* . and .. */
}

int fuse_export_open(struct fuse_export **out, const char *dir, const struct fuse_export_options *o, struct err *e)
{
	char options[128];
	char *argv[] = {(char *)"inetboot", (char *)"-o", options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_export *x = calloc(1, sizeof(*x));

	if (!x)
		return err_set(e, -ENOMEM, "no memory for a mount");
	x->o = *o;
	pthread_mutex_init(&x->lock, NULL);
	room_init(&x->buffers, o->buffers);
	clock_cond_init(&x->changed);
	x->dir = realpath(dir, NULL);
	if (!x->dir) {
		err_errno(e, "cannot mount at %s", dir);
		fuse_export_close(x);
		return e ? e->code : -ENOENT;
	}
	if (!is_empty(x->dir)) {
		fuse_export_close(x);
		return err_set(e, -ENOTEMPTY, "cannot mount at %s: it is no empty folder, and a mount would hide what is in it", dir);
	}
	if (access("/dev/fuse", R_OK | W_OK) < 0) {
		err_errno(e, "cannot mount: /dev/fuse cannot be used by this user (load the module fuse, or give access to the device)");
		fuse_export_close(x);
		return e ? e->code : -EACCES;
	}
	snprintf(options, sizeof(options), "ro,fsname=inetboot,subtype=inetboot%s", o->allow_other ? ",allow_other" : "");
	x->session = fuse_session_new(&args, &operations, sizeof(operations), x);
	fuse_opt_free_args(&args);
	if (!x->session || fuse_session_mount(x->session, x->dir) < 0) {
		fuse_export_close(x);
		return err_set(e, -EIO, "cannot mount at %s (what FUSE says stands above; is the package fuse3 installed?)", dir);
	}
	x->mounted = true;
	*out = x;
	return 0;
}

static void wake_up(int number)
{
}

/* fuse_export_stop() wakes this thread up by SIGUSR2: libfuse waits where a signal interrupts. */
static void note_running(struct fuse_export *x, bool running)
{
	struct sigaction action = {.sa_handler = wake_up};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	if (running) {
		sigaction(SIGUSR2, &action, NULL);
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
	pthread_mutex_lock(&x->lock);
	x->loop = pthread_self();
	x->running = running;
	x->ended = !running;
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
}

int fuse_export_run(struct fuse_export *x, struct err *e)
{
	struct fuse_loop_config *config;
	int r = pending_reads_open(&x->pending);

	if (r < 0)
		return err_set(e, r, "cannot start a thread: %s", strerror(-r));
	config = fuse_loop_cfg_create();
	if (!config) {
		pending_reads_close(&x->pending);
		return err_set(e, -ENOMEM, "no memory for a mount");
	}
	fuse_loop_cfg_set_clone_fd(config, 0);
	fuse_loop_cfg_set_max_threads(config, THREADS);
	fuse_loop_cfg_set_idle_threads(config, 8);
	if (x->o.bulk)
		raise_readahead(x->dir);
	note_running(x, true);
	r = fuse_session_loop_mt(x->session, config);
	note_running(x, false);
	fuse_loop_cfg_destroy(config);
	pending_reads_close(&x->pending);
	disk_cancel(x->o.disk);
	fuse_session_unmount(x->session);
	x->mounted = false;
	return r < 0 ? err_set(e, r, "the FUSE connection failed: %s", strerror(-r)) : 0;
}

void fuse_export_stop(struct fuse_export *x)
{
	disk_cancel(x->o.disk);
	fuse_session_exit(x->session);
	pthread_mutex_lock(&x->lock);
	while (!x->ended) {
		if (x->running)
			pthread_kill(x->loop, SIGUSR2);
		clock_cond_wait(&x->changed, &x->lock, clock_ms() + WAKE_MS); /* it may not have been waiting yet */
	}
	pthread_mutex_unlock(&x->lock);
}

void fuse_export_close(struct fuse_export *x)
{
	if (!x)
		return;
	if (x->mounted)
		fuse_session_unmount(x->session);
	if (x->session)
		fuse_session_destroy(x->session);
	while (x->texts)
		drop_text(x, x->texts);
	pthread_cond_destroy(&x->changed);
	pthread_mutex_destroy(&x->lock);
	room_destroy(&x->buffers);
	free(x->dir);
	free(x);
}
