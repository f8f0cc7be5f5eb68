/* Copy-on-write files: see cow.h. */
#include "format/cow.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "format/manifest.h"

#define COW_MAGIC 0x4f4f4f4d
#define COW_VERSION 3
#define COW_BITMAP 0 /* the one format */
#define COW_PATH 32  /* offset of the backing file's path */
#define COW_PATH_LEN 4096
#define ALIGNMENT_MAX (1u << 20)

static const uint8_t binding_magic[4] = {'I', 'B', 'O', '1'};

static uint64_t align(uint64_t offset, uint32_t alignment)
{
	return (offset + alignment - 1) & ~((uint64_t)alignment - 1);
}

/* Nothing overflows: size is below 2^51, alignment below 2^21. */
static void place(struct cow_head *h)
{
	h->bitmap = align(COW_HEAD_LEN, h->alignment);
	h->bitmap_len = ((h->size + COW_SECTOR - 1) / COW_SECTOR + 7) / 8;
	h->data = align(h->bitmap + h->bitmap_len, h->alignment);
}

int cow_head_parse(struct cow_head *out, const void *data, size_t len, struct err *e)
{
	const uint8_t *p = data;
	struct cow_head h;

	if (len < COW_HEAD_LEN || load_be32(p) != COW_MAGIC || load_be32(p + 4) != COW_VERSION)
		return err_set(e, -EINVAL, "no copy-on-write file of User-Mode Linux");
	h.mtime = load_be32(p + 8);
	h.size = load_be64(p + 12);
	h.alignment = load_be32(p + 24);
	if (!h.size || h.size > MANIFEST_SIZE_MAX)
		return err_set(e, -EINVAL,
			"a copy-on-write file for a disk of %llu bytes: 1 to %llu are possible",
			(unsigned long long)h.size, MANIFEST_SIZE_MAX);
	if (load_be32(p + 20) != COW_SECTOR || load_be32(p + 28) != COW_BITMAP)
		return err_set(e, -EINVAL,
			"a copy-on-write file with sectors of %u bytes in format %u: only %u and "
			"%d are known",
			load_be32(p + 20), load_be32(p + 28), COW_SECTOR, COW_BITMAP);
	if (!h.alignment || h.alignment & (h.alignment - 1) || h.alignment > ALIGNMENT_MAX)
		return err_set(e, -EINVAL,
			"a copy-on-write file aligned to %u bytes: powers of two up to %u are "
			"possible",
			h.alignment, ALIGNMENT_MAX);
	place(&h);
	*out = h;
	return 0;
}

uint64_t cow_file_len(const struct cow_head *h)
{
	return h->data + h->size;
}

void cow_binding_put(uint8_t *p, const struct cow_binding *b)
{
	size_t len = strlen(b->link);

	memcpy(p, binding_magic, sizeof(binding_magic));
	store_le32(p + 4, (uint32_t)len);
	store_le64(p + 8, b->version);
	memcpy(p + 16, b->root.bytes, HASH_LEN);
	memcpy(p + 48, b->name, strlen(b->name));
	memcpy(p + COW_BINDING_HEAD, b->link, len);
}

int cow_start_encode(uint8_t out[COW_START], uint64_t size, uint32_t mtime, const char *backing,
	const struct cow_binding *b, struct err *e)
{
	if (!size || size > MANIFEST_SIZE_MAX || strlen(backing) >= COW_PATH_LEN)
		return err_set(e, -EINVAL,
			"a copy-on-write file for a disk of %llu bytes at %s is not possible",
			(unsigned long long)size, backing);
	memset(out, 0, COW_START);
	store_be32(out, COW_MAGIC);
	store_be32(out + 4, COW_VERSION);
	store_be32(out + 8, mtime);
	store_be64(out + 12, size);
	store_be32(out + 20, COW_SECTOR);
	store_be32(out + 24, COW_ALIGNMENT);
	store_be32(out + 28, COW_BITMAP);
	memcpy(out + COW_PATH, backing, strlen(backing));
	cow_binding_put(out + COW_HEAD_LEN, b);
	return 0;
}

/* The link is for people, who are advised to type it in quotes, and for boot: it must be one, and name what the rest names. */
static int check_link(const struct cow_binding *b)
{
	struct link l;
	bool good;

	if (!b->link[0])
		return 0;
	if (link_parse(&l, b->link, NULL) < 0)
		return -EINVAL;
	good = !strchr(b->link, '\'') && !strcmp(l.name, b->name) && l.version == b->version;
	link_free(&l);
	return good ? 0 : -EINVAL;
}

int cow_binding_get(struct cow_binding *out, const uint8_t *p, size_t len, struct err *e)
{
	struct cow_binding b = {0};
	uint32_t link_len = len < COW_BINDING_HEAD ? UINT32_MAX : load_le32(p + 4);
	bool whole = link_len <= COW_LINK_MAX && link_len <= len - COW_BINDING_HEAD &&
		     !memcmp(p, binding_magic, sizeof(binding_magic));

	if (whole) {
		b.version = load_le64(p + 8);
		memcpy(b.root.bytes, p + 16, HASH_LEN);
		memcpy(b.name, p + 48, LINK_NAME_MAX);
		memcpy(b.link, p + COW_BINDING_HEAD, link_len);
	}
	if (!whole || strlen(b.link) != link_len || !b.version || b.version > INT64_MAX ||
		hash_is_hole(&b.root) || !link_name_valid(b.name) || check_link(&b) < 0)
		return err_set(e, -EINVAL,
			"the note of the image to which a copy-on-write file belongs is damaged");
	*out = b;
	return 0;
}

int cow_binding_parse(struct cow_binding *out, const struct cow_head *h, const void *data,
	size_t len, struct err *e)
{
	const uint8_t *p = (const uint8_t *)data + COW_HEAD_LEN;

	if (len < COW_START || h->bitmap < COW_START ||
		memcmp(p, binding_magic, sizeof(binding_magic)) != 0)
		return 0;
	return cow_binding_get(out, p, COW_START - COW_HEAD_LEN, e) < 0 ? -EINVAL : 1;
}
