/* Putting blocks: see block_writer.h. A writer remembers the blocks that it has met in a set;
 * whoever adds a hash first does the work for all. */
#include "publish/block_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash_set.h"
#include "format/block.h"

struct block_writer {
	int fd;
	char id[STORE_ID_LEN + 1];
	int level;
	atomic_uint temporary;
	pthread_mutex_t lock; /* for the two below */
	struct hash_set met;
	struct block_stats stats;
};

struct block_writer *block_writer_new(struct store *s, int level)
{
	struct block_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->fd = s->fd;
	memcpy(w->id, s->id, sizeof(w->id));
	w->level = level;
	pthread_mutex_init(&w->lock, NULL);
	return w;
}

void block_writer_free(struct block_writer *w)
{
	if (!w)
		return;
	hash_set_free(&w->met);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void block_writer_stats(struct block_writer *w, struct block_stats *out)
{
	pthread_mutex_lock(&w->lock);
	*out = w->stats;
	pthread_mutex_unlock(&w->lock);
}

static void count(struct block_writer *w, uint64_t bytes, bool fresh)
{
	pthread_mutex_lock(&w->lock);
	w->stats.blocks++;
	w->stats.bytes += bytes;
	w->stats.new_blocks += fresh;
	w->stats.new_bytes += fresh ? bytes : 0;
	pthread_mutex_unlock(&w->lock);
}

static int open_temporary(int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	char folder[BLOCK_PATH_MAX];

	if (fd >= 0 || errno != ENOENT)
		return fd;
	snprintf(folder, sizeof(folder), "%.9s", path); /* "blocks/ab" */
	if (mkdirat(dirfd, folder, 0777) < 0 && errno != EEXIST)
		return -1;
	return openat(dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
}

static int write_block(
	struct block_writer *w, const char *path, const struct buf *frame, struct err *e)
{
	char temporary[BLOCK_PATH_MAX];
	int fd, r;

	snprintf(temporary, sizeof(temporary), "%.10s.%s.%u", path, w->id,
		w->temporary++); /* "blocks/ab/.ID.N" */
	fd = open_temporary(w->fd, temporary);
	if (fd < 0)
		return err_errno(e, "cannot create %s", temporary);
	r = file_write(fd, frame->data, frame->len);
	if (close(fd) < 0 && !r) /* network file systems report a full disk here */
		r = -errno;
	if (!r && renameat(w->fd, temporary, w->fd, path) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(w->fd, temporary, 0);
	return r < 0 ? err_set(e, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

/* Meets a block. 1: it is new to this publish; 0: it is not. */
static int meet(struct block_writer *w, const struct hash *hash, struct err *e)
{
	int r;

	pthread_mutex_lock(&w->lock);
	r = hash_set_add(&w->met, hash, 0);
	pthread_mutex_unlock(&w->lock);
	return r < 0 ? err_set(e, r, "no memory for the list of blocks") : r;
}

/* Does the store have it? Then it is counted. */
static bool is_there(struct block_writer *w, const char *path)
{
	struct stat st;

	if (fstatat(w->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || !st.st_size)
		return false;
	count(w, (uint64_t)st.st_size, false);
	return true;
}

int block_writer_note(struct block_writer *w, const struct hash *hash, struct err *e)
{
	char path[BLOCK_PATH_MAX];
	int r = meet(w, hash, e);

	if (r <= 0)
		return r;
	block_path(hash, path);
	return is_there(w, path) ? 0
				 : err_set(e, -ENOENT,
					   "the store lacks %s, which the version before has: `inetboot verify` it",
					   path);
}

int block_writer_put(struct block_writer *w, const struct hash *hash, const void *data, size_t len,
	struct buf *scratch, struct err *e)
{
	char path[BLOCK_PATH_MAX];
	int r = meet(w, hash, e);

	if (r <= 0)
		return r;
	block_path(hash, path);
	if (is_there(w, path))
		return 0;
	r = block_encode(scratch, data, len, w->level, e);
	if (!r)
		r = write_block(w, path, scratch, e);
	if (!r)
		count(w, scratch->len, true);
	return r;
}
