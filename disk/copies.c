/* Copies of signed files: see copies.h. No name of an image has an `@`. */
#include "disk/copies.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/text.h"

char *copy_name(const char *image, uint64_t version)
{
	return version ? file_path("%s@%" PRIu64, image, version) : strdup(image);
}

char *copy_name_of_last_word(const char *image)
{
	return file_path("%s@next", image);
}

static char *copy_dir(struct cache *cache, const struct public_key *key)
{
	char hex[HASH_HEX_MAX];

	hex_encode(hex, key->key, sizeof(key->key));
	return file_path("%s/manifests/%.32s", cache_dir(cache), hex);
}

int copy_load(struct cache *cache, const struct public_key *key, const char *name, struct buf *out)
{
	_cleanup_free_ char *dir = cache && name ? copy_dir(cache, key) : NULL;
	_cleanup_free_ char *path = dir ? file_path("%s/%s", dir, name) : NULL;

	return path ? file_load(AT_FDCWD, path, out, NULL) : -ENOENT;
}

void copy_keep(struct cache *cache, const struct public_key *key, const char *name, const void *data, size_t len)
{
	_cleanup_free_ char *dir = cache && name ? copy_dir(cache, key) : NULL;
	_cleanup_free_ char *path = dir ? file_path("%s/%s", dir, name) : NULL;
	struct err e = ERR_INIT;

	if (path && (file_mkdirs(dir, &e) < 0 || file_save(AT_FDCWD, path, data, len, 0, &e) < 0))
		log_debug("no copy of the manifest is kept for offline use: %s", e.text);
}

/* What a mark says: the version, and its root. */
static void mark_text(const struct manifest *m, char out[128])
{
	char root[HASH_HEX_MAX];

	hash_hex(&m->image.root, root);
	snprintf(out, 128, "%" PRIu64 " %s\n", m->version, root);
}

static char *mark_name(const char *image, bool boot)
{
	return file_path("%s@%s", image, boot ? "boot" : "whole");
}

void copy_mark(struct cache *cache, const struct public_key *key, const struct manifest *m, bool boot)
{
	_cleanup_free_ char *name = mark_name(m->name, boot);
	char text[128];

	mark_text(m, text);
	copy_keep(cache, key, name, text, strlen(text));
}

static bool has_mark(struct cache *cache, const struct public_key *key, const struct manifest *m, bool boot)
{
	_cleanup_free_ char *name = mark_name(m->name, boot);
	_cleanup_buf_ struct buf there = BUF_INIT(128);
	char text[128];

	mark_text(m, text);
	return !copy_load(cache, key, name, &there) && there.len == strlen(text) && !memcmp(there.data, text, there.len);
}

bool copy_is_marked(struct cache *cache, const struct public_key *key, const struct manifest *m)
{
	return has_mark(cache, key, m, false) || has_mark(cache, key, m, true);
}
