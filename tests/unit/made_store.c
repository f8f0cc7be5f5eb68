/* Stores for tests: see made_store.h. */
#include "made_store.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "format/block.h"
#include "format/index.h"

void made_path(const char *dir, const struct hash *h, char out[256])
{
	char name[BLOCK_PATH_MAX];

	block_path(h, name);
	snprintf(out, 256, "%s/%s", dir, name);
}

struct hash made_block(const char *dir, const void *data, size_t len)
{
	_cleanup_buf_ struct buf frame = BUF_INIT(BLOCK_FILE_MAX);
	char path[256], folder[256];
	struct hash h;

	hash_of(&h, data, len);
	assert_int_equal(block_encode(&frame, data, len, 1, NULL), 0);
	made_path(dir, &h, path);
	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = 0;
	assert_int_equal(file_mkdirs(folder, NULL), 0);
	assert_int_equal(file_save(AT_FDCWD, path, frame.data, frame.len, 0, NULL), 0);
	return h;
}

static int save_node(void *dir, const void *node, size_t len, struct hash *hash, struct err *e)
{
	*hash = made_block(dir, node, len);
	return 0;
}

/* One piece of the image: a hole, random bytes, bytes that compress, or what stands there already
 * elsewhere. */
static bool fill_piece(struct made_image *m, struct random *r, size_t at, size_t len)
{
	switch (random_below(r, 6)) {
	case 0:
		return false;
	case 1:
		memset(m->data + at, (int)random_below(r, 255) + 1, len);
		return true;
	case 2:
		if (at >= len) {
			memcpy(m->data + at, m->data + random_below(r, at - len + 1), len);
			return !file_all_zero(m->data + at, len);
		}
		/* fall through */
	default:
		random_fill(r, m->data + at, len);
		return true;
	}
}

void made_image(struct made_image *m, const char *dir, struct random *r, size_t size, size_t mean)
{
	struct index_builder *b = index_builder_new(save_node, (void *)dir);
	struct index_entry entry;
	uint64_t entries;

	*m = (struct made_image){.data = calloc(1, size), .size = size};
	m->chunks = calloc(size, sizeof(*m->chunks));
	m->at = calloc(size, sizeof(*m->at));
	for (size_t at = 0, len; at < size; at += len) {
		len = 1 + random_below(r, 2 * mean);
		len = len < size - at ? len : size - at;
		entry = (struct index_entry){.length = len};
		if (fill_piece(m, r, at, len)) {
			entry.hash = made_block(dir, m->data + at, len);
			m->at[m->count] = at;
			m->chunks[m->count++] = entry.hash;
		}
		assert_int_equal(index_builder_add(b, &entry, NULL), 0);
	}
	assert_int_equal(index_builder_finish(b, &m->tree, &entries, NULL), 0);
	assert_int_equal(m->tree.size, size);
	index_builder_free(b);
}

void made_image_free(struct made_image *m)
{
	free(m->data);
	free(m->chunks);
	free(m->at);
}

static void put_le(uint8_t *out, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[i] = (uint8_t)(v >> 8 * i);
}

size_t made_node(uint8_t *out, unsigned level, uint32_t count, const uint64_t *lengths,
	const struct hash *hashes)
{
	memcpy(out, "IBN1", 4);
	put_le(out + 4, level, 4);
	put_le(out + 8, count, 4);
	for (uint32_t i = 0; i < count; i++) {
		put_le(out + INDEX_NODE_HEAD + i * INDEX_ENTRY_LEN, lengths[i], 8);
		memcpy(out + INDEX_NODE_HEAD + i * INDEX_ENTRY_LEN + 8, hashes[i].bytes, HASH_LEN);
	}
	return INDEX_NODE_HEAD + count * INDEX_ENTRY_LEN;
}

void made_manifest(const char *dir, const char *name, const char *named, uint64_t version,
	const struct tree *tree, const struct secret_key *key, bool newest)
{
	_cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX),
				 signed_text = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *folder = file_path("%s/%s", dir, name);
	_cleanup_free_ char *numbered =
		file_path("%s/manifest.%llu", folder, (unsigned long long)version);
	_cleanup_free_ char *plain = file_path("%s/manifest", folder);
	struct manifest m = {.version = version,
		.created = "2026-01-31T12:00:00Z",
		.image = *tree,
		.chunks = 1,
		.filesystem = "ext4"};
	struct err e = ERR_INIT;

	snprintf(m.name, sizeof(m.name), "%s", named);
	assert_int_equal(file_mkdirs(folder, NULL), 0);
	if (manifest_encode(&m, &text, &e) < 0 ||
		signature_sign(key, "", text.data, text.len, &signed_text, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(
		file_save(AT_FDCWD, numbered, signed_text.data, signed_text.len, 0, NULL), 0);
	if (newest)
		assert_int_equal(
			file_save(AT_FDCWD, plain, signed_text.data, signed_text.len, 0, NULL), 0);
}
