/* Unpacked images: see unpacked.h. */
#include "disk/unpacked.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "disk/image.h"
#include "disk/store.h"
#include "format/index.h"

#define THREADS 4
#define AHEAD (8u << 20)
#define ROOT_DIGITS 32

/* "DIR/disks", and "DIR/disks/NAME.ROOT". */
static char *folder_of(const struct image *image)
{
	return file_path("%s/disks", cache_dir(image->cache));
}

static char *path_of(const struct image *image)
{
	char root[HASH_HEX_MAX];

	hash_hex(&image->manifest.image.root, root);
	return file_path("%s/disks/%s.%.*s", cache_dir(image->cache), image->manifest.name,
		ROOT_DIGITS, root);
}

/* ---- checking ---- */

struct check { /* of a part of the file, by a thread */
	struct image *image;
	int fd;
	uint64_t from, end, at; /* bytes; up to `at` all is right */
	uint8_t *data;
	struct err why;
	int result;
	pthread_t thread;
	bool started;
};

/* Where the index has no chunk the file must be a hole, or zeros. */
static int check_hole(struct check *c, uint64_t end, struct err *e)
{
	while (c->at < end) {
		off_t data = lseek(c->fd, (off_t)c->at, SEEK_DATA);
		size_t len =
			end - c->at < INDEX_CHUNK_MAX ? (size_t)(end - c->at) : INDEX_CHUNK_MAX;
		int r;

		if (data < 0 ? errno == ENXIO : (uint64_t)data >= end) {
			c->at = end;
			break;
		}
		r = file_pread(c->fd, c->data, len, c->at);
		if (r < 0 || !file_all_zero(c->data, len))
			return err_set(e, -EBADMSG, "it is not empty at byte %llu",
				(unsigned long long)c->at);
		c->at += len;
	}
	return 0;
}

static int check_chunk(
	void *context, uint64_t offset, const struct hash *hash, uint32_t len, struct err *e)
{
	struct check *c = context;
	struct hash found;
	int r = offset > c->at ? check_hole(c, offset, e) : 0;

	if (!r && file_pread(c->fd, c->data, len, offset) < 0)
		r = err_set(
			e, -EBADMSG, "it cannot be read at byte %llu", (unsigned long long)offset);
	if (r < 0)
		return r;
	hash_of(&found, c->data, len);
	c->at = offset + len;
	return hash_equal(&found, hash)
		       ? 0
		       : err_set(e, -EBADMSG, "its bytes from %llu on are not the image's",
				 (unsigned long long)offset);
}

static void *check_part(void *context)
{
	struct check *c = context;

	c->data = malloc(INDEX_CHUNK_MAX);
	c->at = c->from;
	c->result = c->data ? store_visit_range(c->image->blocks, &c->image->manifest.image,
				      c->from, c->end - c->from, check_chunk, c, &c->why)
			    : err_set(&c->why, -ENOMEM, "no memory");
	if (!c->result && c->at < c->end)
		c->result = check_hole(c, c->end, &c->why);
	free(c->data);
	return NULL;
}

static int check_file(struct image *image, int fd, struct err *e)
{
	uint64_t size = image->manifest.image.size, part = size / THREADS + 1;
	struct check checks[THREADS];
	int r = 0;

	for (unsigned i = 0; i < THREADS; i++) {
		struct check *c = &checks[i];

		*c = (struct check){
			.image = image, .fd = fd, .from = i * part < size ? i * part : size};
		c->end = size - c->from < part ? size : c->from + part;
		if (c->from == c->end)
			continue;
		c->started = !thread_start(&c->thread, check_part, c);
		if (!c->started)
			check_part(c);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		if (checks[i].started)
			pthread_join(checks[i].thread, NULL);
		if (checks[i].result < 0 && !r) {
			r = checks[i].result;
			*e = checks[i].why;
		}
	}
	return r;
}

static bool is_ours_alone(const struct stat *st)
{
	return st->st_uid == geteuid() && !(st->st_mode & 022);
}

static int check_owner(const struct image *image, const struct stat *st, struct err *e)
{
	if (!S_ISREG(st->st_mode) || (uint64_t)st->st_size != image->manifest.image.size)
		return err_set(e, -EBADMSG, "it has not the image's size");
	return is_ours_alone(st) ? 0 : err_set(e, -EPERM, "others may write to it");
}

int unpacked_find(struct image *image, char **found)
{
	_cleanup_free_ char *path = image->cache ? path_of(image) : NULL;
	_cleanup_close_ int fd =
		path ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
	struct err e = ERR_INIT;
	struct stat st;
	int r;

	if (fd < 0)
		return -ENOENT;
	r = fstat(fd, &st) < 0 ? err_errno(&e, "cannot look at it") : check_owner(image, &st, &e);
	if (!r)
		r = check_file(image, fd, &e);
	if (!r) {
		*found = steal_ptr(path);
		return steal_fd(&fd);
	}
	if (r != -ECANCELED)
		log_warning("the unpacked image %s is not used: %s", path, e.text);
	if (r == -EBADMSG)
		unlink(path);
	return -ENOENT;
}

/* By what is in the folder under its present name: the kernel gives that with symbolic links
 * resolved, and our path may have some. */
bool unpacked_is_one(int fd, const struct image_options *o)
{
	_cleanup_free_ char *cache = image_cache_dir(o, NULL),
			    *folder = cache ? file_path("%s/disks", cache) : NULL;
	_cleanup_close_ int dir =
		folder ? open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	char link[32], path[PATH_MAX];
	struct stat there, st;
	const char *name;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (dir < 0 || len < 0 || (fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH)) != O_RDONLY)
		return false;
	path[len] = 0;
	name = strrchr(path, '/');
	return name && !fstat(fd, &st) && S_ISREG(st.st_mode) && is_ours_alone(&st) &&
	       !fstatat(dir, name + 1, &there, AT_SYMLINK_NOFOLLOW) &&
	       there.st_dev == st.st_dev && there.st_ino == st.st_ino;
}

/* ---- making ---- */

struct making {
	struct image *image;
	int fd;
	struct progress progress;
};

static int write_chunk(
	void *context, uint64_t offset, const struct hash *hash, uint32_t len, struct err *e)
{
	struct making *m = context;
	const struct memory_block *block;
	int r = blocks_chunk(m->image->blocks, hash, len, &block, e);

	if (r < 0)
		return r;
	disk_prefetch(m->image->disk, offset + len, AHEAD);
	r = file_pwrite(m->fd, block->data, len, offset);
	blocks_put(m->image->blocks, block);
	progress_show(&m->progress, offset + len, "");
	return r < 0 ? err_set(e, r, "cannot write the unpacked image: %s", strerror(-r)) : 0;
}

static int write_file(struct image *image, int fd, struct err *e)
{
	const struct timespec times[] = {
		{.tv_sec = image_mtime(image)}, {.tv_sec = image_mtime(image)}};
	struct making m = {.image = image, .fd = fd};
	const struct tree *tree = &image->manifest.image;
	int r;

	if (ftruncate(fd, (off_t)tree->size) < 0)
		return err_errno(e, "cannot write the unpacked image");
	progress_begin(&m.progress, "unpacking", tree->size);
	r = store_visit_range(image->blocks, tree, 0, tree->size, write_chunk, &m, e);
	progress_end(&m.progress);
	if (!r && futimens(fd, times) < 0)
		r = err_errno(e, "cannot write the unpacked image");
	return r;
}

/* Those of other versions. */
static void remove_others(const char *folder, const char *name, const char *keep)
{
	_cleanup_closedir_ DIR *d = opendir(folder);
	size_t len = strlen(name);
	struct dirent *at;

	while (d && (at = readdir(d)))
		if (!strncmp(at->d_name, name, len) && at->d_name[len] == '.' &&
			strlen(at->d_name) == len + 1 + ROOT_DIGITS &&
			strcmp(at->d_name, keep) != 0)
			unlinkat(dirfd(d), at->d_name, 0);
}

int unpacked_make(struct image *image, struct err *e)
{
	_cleanup_free_ char *folder = folder_of(image), *path = path_of(image),
			    *part = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (image->unpacked)
		return 0;
	part = path ? file_path("%s.part.%ld", path, (long)getpid()) : NULL;
	if (!folder || !part)
		return err_set(e, -ENOMEM, "no memory to unpack");
	r = file_mkdirs(folder, e);
	if (r < 0)
		return r;
	fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, "cannot make %s", part);
	r = write_file(image, fd, e);
	if (!r && rename(part, path) < 0)
		r = err_errno(e, "cannot make %s", path);
	if (r < 0)
		unlink(part);
	else
		remove_others(folder, image->manifest.name, strrchr(path, '/') + 1);
	return r;
}
