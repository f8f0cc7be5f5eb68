/* FUSE export: see fuse.h. Inodes: 1 the folder, 2 `disk`, 3 `status`. The content never changes, so names and attributes are valid for
 * a day. Nothing but the texts of open status files is remembered between two requests: another worker may get the second one. A text
 * has a number, which no other worker gives; who asks for a number that is not there reads a fresh text. */
#define FUSE_USE_VERSION 312
#include "export/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/room.h"
#include "export/passthrough.h"
#include "export/pending.h"
#include "export/session.h"

#define INODE_DISK 2
#define INODE_STATUS 3
#define VALID_S 86400.0
#define EXACT_READAHEAD 4096 /* the least that lets one read be one request; 0 would make each page one */
#define BACKGROUND 32	  /* the kernel's readahead requests at once: fewer than SLOTS, so that `status` answers while reads wait for the network */
#define READ_MAX SLOTS_WRITE_MAX /* bytes of one request: the kernel's own bound */

struct fuse_export {
	struct fuse_export_options o;
	struct session *session;
	struct pending_reads pending; /* while it runs */
	struct room buffers; /* of reads */
	pthread_mutex_t lock; /* for what follows */
	struct status_text *texts; /* of open status files */
	uint32_t last_text;
};

struct status_text {
	struct status_text *next;
	uint64_t number;
	char *text;
};

static struct fuse_export *export_of(fuse_req_t req)
{
	return session_context(fuse_req_userdata(req));
}

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
	const struct fuse_export *x = session_context(user);

	conn->max_write = SLOTS_WRITE_MAX;
	conn->max_background = BACKGROUND;
	conn->congestion_threshold = BACKGROUND;
	conn->max_readahead = x->o.exact ? EXACT_READAHEAD : READ_MAX;
	conn->want |= conn->capable & FUSE_CAP_ASYNC_READ;
	conn->want &= ~FUSE_CAP_ASYNC_DIO; /* such a read past the page cache could not even be killed while the network is gone */
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_export *x = export_of(req);
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

	fill_attr(export_of(req), inode, &st);
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

static void drop_text(struct fuse_export *x, uint64_t number)
{
	struct status_text **at, *t;

	pthread_mutex_lock(&x->lock);
	for (at = &x->texts; *at && (*at)->number != number; at = &(*at)->next)
		;
	t = *at;
	if (t)
		*at = t->next;
	pthread_mutex_unlock(&x->lock);
	if (t)
		free(t->text);
	free(t);
}

static char *fresh_text(const struct fuse_export *x)
{
	return x->o.status ? x->o.status(x->o.context) : strdup("{}\n");
}

static void open_status(fuse_req_t req, struct fuse_file_info *fi)
{
	struct fuse_export *x = export_of(req);
	struct status_text *t = calloc(1, sizeof(*t));

	if (t)
		t->text = fresh_text(x);
	if (!t || !t->text) {
		free(t);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&x->lock);
	fi->fh = t->number = (uint64_t)x->o.worker << 32 | ++x->last_text;
	t->next = x->texts;
	x->texts = t;
	pthread_mutex_unlock(&x->lock);
	fi->direct_io = 1;
	if (fuse_reply_open(req, fi) < 0)
		drop_text(x, fi->fh);
}

static void open_disk(fuse_req_t req, struct fuse_file_info *fi)
{
	struct fuse_export *x = export_of(req);
	int32_t number = x->o.passthrough ? x->o.passthrough(x->o.context) : 0;
	struct passthrough_open direct = passthrough_open(number);

	if (number > 0) {
		fuse_reply_buf(req, (const char *)&direct, sizeof(direct));
		return;
	}
	fi->keep_cache = 1;
	fi->direct_io = x->o.direct;
	fuse_reply_open(req, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
	} else if (inode == INODE_STATUS) {
		open_status(req, fi);
	} else {
		open_disk(req, fi);
	}
}

static void op_release(fuse_req_t req, fuse_ino_t inode, struct fuse_file_info *fi)
{
	if (inode == INODE_STATUS)
		drop_text(export_of(req), fi->fh);
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

/* A copy of it: the file may be released as soon as the kernel has the answer, before the call that gives it returns. */
static char *text_numbered(struct fuse_export *x, uint64_t number)
{
	char *copy = NULL;

	pthread_mutex_lock(&x->lock);
	for (const struct status_text *t = x->texts; t && !copy; t = t->next)
		if (t->number == number)
			copy = strdup(t->text);
	pthread_mutex_unlock(&x->lock);
	return copy ? copy : fresh_text(x);
}

static void read_status(fuse_req_t req, uint64_t number, size_t size, size_t offset)
{
	_cleanup_free_ char *text = text_numbered(export_of(req), number);
	size_t len = text ? strlen(text) : 0, from = offset < len ? offset : len;

	if (text)
		fuse_reply_buf(req, text + from, len - from < size ? len - from : size);
	else
		fuse_reply_err(req, ENOMEM);
}

static void op_read(fuse_req_t req, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *fi)
{
	if (inode == INODE_DISK) {
		read_disk(req, export_of(req), size < READ_MAX ? size : READ_MAX, (uint64_t)offset);
	} else {
		read_status(req, fi->fh, size, (size_t)offset);
	}
}

static void op_statfs(fuse_req_t req, fuse_ino_t inode)
{
	struct fuse_export *x = export_of(req);
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

int fuse_export_open(struct fuse_export **out, const struct fuse_export_options *o, struct err *e)
{
	struct fuse_export *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return err_set(e, -ENOMEM, "no memory for a mount");
	x->o = *o;
	pthread_mutex_init(&x->lock, NULL);
	room_init(&x->buffers, o->buffers);
	r = session_open(&x->session, &operations, x, o->slots, o->device, e);
	if (r < 0) {
		fuse_export_close(x);
		return r;
	}
	if (o->has_file)
		session_want_passthrough(x->session);
	*out = x;
	return 0;
}

static void cancel(void *context)
{
	disk_cancel(((struct fuse_export *)context)->o.disk);
}

int fuse_export_run(struct fuse_export *x, struct err *e)
{
	int r = pending_reads_open(&x->pending);

	if (r < 0)
		return err_set(e, r, "cannot start a thread: %s", strerror(-r));
	r = session_run(x->session, cancel, e);
	pending_reads_close(&x->pending);
	return r;
}

void fuse_export_stop(struct fuse_export *x)
{
	session_stop(x->session);
}

void fuse_export_close(struct fuse_export *x)
{
	if (!x)
		return;
	session_close(x->session);
	while (x->texts)
		drop_text(x, x->texts->number);
	pthread_mutex_destroy(&x->lock);
	room_destroy(&x->buffers);
	free(x);
}
