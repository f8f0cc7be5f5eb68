/* The block files, and boot packs, of a store folder: list, read and remove. Paths as in format/block.h. */
#ifndef PUBLISH_BLOCK_FILES_H
#define PUBLISH_BLOCK_FILES_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"
#include "format/manifest.h"

/* Calls visit for every file below blocks/: a block (hash not NULL) or something else, as a
 * temporary file. path is relative to the store's folder. Stops at the first result other than 0,
 * and returns it. */
typedef int (*block_files_visit)(
	void *context, const char *path, const struct hash *hash, struct err *e);
int block_files_each(int store_fd, block_files_visit visit, void *context, struct err *e);

/* The same for every file in packs/: a boot pack, or something else. */
int pack_files_each(int store_fd, block_files_visit visit, void *context, struct err *e);

struct pack;

/* Opens a boot pack by what a manifest says of it and its image, and checks its head: gives a descriptor, and the head for pack_free(). -ENOENT,
 * -EBADMSG, other errors of reading. */
int pack_file_open(int store_fd, const struct profile *profile, uint64_t image_size, struct pack *out, struct err *e);

/* Reads a boot pack and checks everything, by what a manifest says of it and its image. file_bytes may be NULL. -ENOENT, -EBADMSG, other errors
 * of reading. */
int pack_file_verify(int store_fd, const struct profile *profile, uint64_t image_size, struct err *e);

/* Reads a block file and checks everything. len: the uncompressed bytes it must have, or 0 for any.
 * out (may be NULL) gets the uncompressed bytes, its cap must be at least BLOCK_LEN_MAX. file_bytes
 * may be NULL. -ENOENT, -EBADMSG, other errors of reading. */
int block_file_load(int store_fd, const struct hash *hash, size_t len, struct buf *out,
	uint64_t *file_bytes, struct err *e);

/* Removes temporary files of publisher `id`. Best effort: gc removes what is left. */
void block_files_remove_temporary(int store_fd, const char *id);

/* Reads all blocks that changed at `since` or later and removes those that are bad. Only with the
 * exclusive lock. */
int block_files_remove_torn(int store_fd, time_t since, struct err *e);

#endif
