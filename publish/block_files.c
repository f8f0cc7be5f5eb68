/* Block files: see block_files.h. */
#include "publish/block_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "format/block.h"
#include "format/pack.h"
#include "publish/store.h"

/* right_path: what a file of a hash is called. */
static int each_in_folder(int store_fd, const char *folder, void (*right_path)(const struct hash *, char *), block_files_visit visit,
	void *context, struct err *e)
{
	int fd = openat(store_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *at;
	int r = 0;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return 0;
	if (!d)
		return err_errno(e, "cannot open %s", folder);
	while (!r) {
		char path[BLOCK_PATH_MAX + 256], right[BLOCK_PATH_MAX + PACK_PATH_MAX];
		struct hash hash;
		bool block;

		errno = 0;
		at = readdir(d);
		if (!at)
			return errno ? err_errno(e, "cannot read %s", folder) : 0;
		if (!strcmp(at->d_name, ".") || !strcmp(at->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, at->d_name);
		block = !hex_decode(hash.bytes, HASH_LEN, at->d_name, strlen(at->d_name));
		if (block)
			right_path(&hash, right);
		r = visit(context, path, block && !strcmp(path, right) ? &hash : NULL, e);
	}
	return r;
}

int block_files_each(int store_fd, block_files_visit visit, void *context, struct err *e)
{
	for (unsigned i = 0; i < 256; i++) {
		char folder[16];
		int r;

		snprintf(folder, sizeof(folder), "blocks/%02x", i);
		r = each_in_folder(store_fd, folder, block_path, visit, context, e);
		if (r)
			return r;
	}
	return 0;
}

int pack_files_each(int store_fd, block_files_visit visit, void *context, struct err *e)
{
	return each_in_folder(store_fd, "packs", pack_path, visit, context, e);
}

static int load_part(int fd, struct buf *out, size_t len, uint64_t offset, struct err *e)
{
	int r;

	out->len = 0;
	r = buf_reserve(out, len);
	if (!r)
		r = file_pread(fd, out->data, len, offset);
	out->len = len;
	return r == -EIO ? err_set(e, -EBADMSG, "the boot pack is cut off") : r < 0 ? err_set(e, r, "%s", strerror(-r)) : 0;
}

static int verify_segments(int fd, const struct pack *pack, struct err *e)
{
	_cleanup_buf_ struct buf segment = BUF_INIT(PACK_SEGMENT_FILE_MAX);
	_cleanup_free_ uint8_t *pages = malloc(PACK_SEGMENT);
	int r = pages ? 0 : err_set(e, -ENOMEM, "no memory to verify a boot pack");

	for (uint32_t i = 0; !r && i < pack->segment_count; i++) {
		r = load_part(fd, &segment, pack->segments[i].len, pack->segments[i].offset, e);
		if (!r)
			r = pack_segment_decode(&pack->segments[i], segment.data, pages, e);
		if (r < 0)
			err_add(e, "segment %u", i);
	}
	return r;
}

static int load_head(int fd, const struct profile *profile, uint64_t image_size, struct pack *out, struct err *e)
{
	_cleanup_buf_ struct buf head = BUF_INIT(PACK_HEAD_MAX);
	struct stat st;
	int64_t len;
	int r = load_part(fd, &head, PACK_START, 0, e);

	len = r < 0 ? r : pack_head_len(head.data, e);
	if (len < 0)
		return (int)len;
	r = load_part(fd, &head, (size_t)len, 0, e);
	if (!r)
		r = pack_open(out, head.data, head.len, profile, image_size, e);
	if (!r && (fstat(fd, &st) < 0 || (uint64_t)st.st_size != out->size))
		r = err_set(e, -EBADMSG, "it is not as long as the manifest says");
	return r;
}

int pack_file_open(int store_fd, const struct profile *profile, uint64_t image_size, struct pack *out, struct err *e)
{
	char path[PACK_PATH_MAX];
	_cleanup_close_ int fd = -1;
	int r;

	*out = (struct pack){0};
	pack_path(&profile->pack, path);
	fd = openat(store_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, "%s", path);
	r = load_head(fd, profile, image_size, out, e);
	if (r < 0) {
		pack_free(out);
		return err_add(e, "%s", path);
	}
	return steal_fd(&fd);
}

int pack_file_verify(int store_fd, const struct profile *profile, uint64_t image_size, struct err *e)
{
	char path[PACK_PATH_MAX];
	struct pack pack;
	_cleanup_close_ int fd = pack_file_open(store_fd, profile, image_size, &pack, e);
	int r;

	if (fd < 0)
		return fd;
	r = verify_segments(fd, &pack, e);
	pack_free(&pack);
	pack_path(&profile->pack, path);
	return r < 0 ? err_add(e, "%s", path) : 0;
}

int block_file_load(int store_fd, const struct hash *hash, size_t len, struct buf *out,
	uint64_t *file_bytes, struct err *e)
{
	_cleanup_buf_ struct buf frame = BUF_INIT(BLOCK_FILE_MAX), own = BUF_INIT(BLOCK_LEN_MAX);
	struct buf *to = out ? out : &own;
	char path[BLOCK_PATH_MAX];
	int64_t claimed;
	int r;

	block_path(hash, path);
	r = file_load_plain(store_fd, path, &frame, e);
	if (r < 0)
		return r == -EFBIG ? -EBADMSG : r;
	if (file_bytes)
		*file_bytes = frame.len;
	claimed = len ? (int64_t)len : block_claimed_len(frame.data, frame.len, e);
	if (claimed < 0)
		return err_add(e, "%s", path);
	to->len = 0;
	r = buf_reserve(to, (size_t)claimed);
	if (r < 0)
		return err_set(e, r, "no memory for a block");
	r = block_decode(to->data, (size_t)claimed, hash, frame.data, frame.len, e);
	if (r < 0)
		return err_add(e, "%s", path);
	to->len = (size_t)claimed;
	return 0;
}

struct temporary_search {
	int fd;
	const char *id;
};

static int remove_if_of(void *context, const char *path, const struct hash *hash, struct err *e)
{
	const struct temporary_search *search = context;
	const char *base = strrchr(path, '/') + 1;

	if (!hash && base[0] == '.' && !strncmp(base + 1, search->id, STORE_ID_LEN))
		unlinkat(search->fd, path, 0);
	return 0;
}

void block_files_remove_temporary(int store_fd, const char *id)
{
	struct temporary_search search = {.fd = store_fd, .id = id};

	block_files_each(store_fd, remove_if_of, &search, NULL);
}

struct torn_search {
	int fd;
	time_t since;
	struct buf scratch;
	uint64_t checked, removed;
};

static int remove_if_torn(void *context, const char *path, const struct hash *hash, struct err *e)
{
	struct torn_search *search = context;
	struct err why = ERR_INIT;
	struct stat st;
	int r;

	if (!hash || fstatat(search->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		st.st_mtime < search->since)
		return 0;
	search->checked++;
	r = block_file_load(search->fd, hash, 0, &search->scratch, NULL, &why);
	if (!r)
		return 0;
	if (r != -EBADMSG)
		return err_set(e, r, "%s", why.text);
	search->removed++;
	return unlinkat(search->fd, path, 0) < 0
		       ? err_errno(e, "cannot remove the damaged %s", path)
		       : 0;
}

int block_files_remove_torn(int store_fd, time_t since, struct err *e)
{
	struct torn_search search = {
		.fd = store_fd, .since = since, .scratch = BUF_INIT(BLOCK_LEN_MAX)};
	int r = block_files_each(store_fd, remove_if_torn, &search, e);

	buf_free(&search.scratch);
	if (!r)
		log_info("checked %llu blocks, removed %llu damaged ones",
			(unsigned long long)search.checked, (unsigned long long)search.removed);
	return r;
}
