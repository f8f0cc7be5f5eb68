/* File systems by magic: see filesystem.h. Offsets and values are from each format's documentation.
 * A disk that boots from CD and USB stick alike has both an iso9660 and a partition table: iso9660
 * goes first, as the whole is what a guest mounts. */
#include "publish/filesystem.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SECTOR 512u
#define GPT_ENTRIES_MAX 128u /* as many as real tables have; more are not looked at */
#define GPT_ENTRY_MAX 4096u  /* bytes */

struct probe {
	filesystem_read read;
	void *context;
	uint64_t size;
};

static uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
	return le16(p) | (uint32_t)le16(p + 2) << 16;
}

static uint64_t le64(const uint8_t *p)
{
	return le32(p) | (uint64_t)le32(p + 4) << 32;
}

/* 1 and the bytes; 0 where the disk ends before. */
static int get(const struct probe *p, uint64_t offset, void *buf, size_t len, struct err *e)
{
	int r;

	if (offset > p->size || len > p->size - offset)
		return 0;
	r = p->read(p->context, buf, len, offset, e);
	return r < 0 ? r : 1;
}

static const char *ext_kind(const uint8_t *super)
{
	uint32_t compatible = le32(super + 92), incompatible = le32(super + 96),
		 read_only = le32(super + 100);

	if (incompatible & ~0x16u || read_only & ~0x07u) /* what ext3 knows: filetype, recover,
							    meta_bg; sparse, large, btree */
		return "ext4";
	return compatible & 4 ? "ext3" : "ext2";
}

/* *out: a constant name, or NULL. */
static int detect_at(const struct probe *p, uint64_t start, const char **out, struct err *e)
{
	uint8_t b[1024];
	int r;

	*out = NULL;
	r = get(p, start + 1024, b, sizeof(b), e);
	if (r > 0 && le16(b + 56) == 0xef53)
		*out = ext_kind(b);
	else if (r > 0 && le32(b) == 0xe0f5e1e2)
		*out = "erofs";
	if (r < 0 || *out)
		return r;
	r = get(p, start, b, SECTOR, e);
	if (r > 0 && !memcmp(b, "hsqs", 4))
		*out = "squashfs";
	else if (r > 0 && !memcmp(b, "XFSB", 4))
		*out = "xfs";
	else if (r > 0 && b[510] == 0x55 && b[511] == 0xaa &&
		 (!memcmp(b + 82, "FAT32", 5) || !memcmp(b + 54, "FAT1", 4)))
		*out = "vfat";
	if (r < 0 || *out)
		return r;
	r = get(p, start + 65536, b, 128, e);
	if (r > 0 && !memcmp(b + 64, "_BHRfS_M", 8))
		*out = "btrfs";
	if (r < 0 || *out)
		return r;
	r = get(p, start + 32768, b, 8, e);
	if (r > 0 && !memcmp(b + 1, "CD001", 5))
		*out = "iso9660";
	return r < 0 ? r : 0;
}

/* Looks into one partition; 1 where it holds a file system that can be a root. */
static int try_partition(const struct probe *p, const char *table, unsigned number, uint64_t sector,
	char *out, struct err *e)
{
	const char *found;
	int r;

	if (!sector || sector > p->size / SECTOR)
		return 0;
	r = detect_at(p, sector * SECTOR, &found, e);
	if (r < 0 || !found || !strcmp(found, "vfat"))
		return r < 0 ? r : 0;
	snprintf(out, FILESYSTEM_MAX, "%s.%u.%s", table, number, found);
	return 1;
}

static int detect_gpt(const struct probe *p, char *out, struct err *e)
{
	uint8_t head[SECTOR], entry[128];
	uint64_t table;
	uint32_t count, len;
	int r = get(p, SECTOR, head, sizeof(head), e);

	if (r <= 0 || memcmp(head, "EFI PART", 8))
		return r < 0 ? r : 0;
	strcpy(out, "gpt");
	table = le64(head + 72);
	count = le32(head + 80);
	len = le32(head + 84);
	/* The bound on len keeps table + i * len far from overflow, get() does the rest. */
	if (table > p->size / SECTOR || len < sizeof(entry) || len > GPT_ENTRY_MAX)
		return 1;
	for (uint32_t i = 0; i < count && i < GPT_ENTRIES_MAX; i++) {
		r = get(p, table * SECTOR + (uint64_t)i * len, entry, sizeof(entry), e);
		if (r > 0)
			r = try_partition(p, "gpt", i + 1, le64(entry + 32), out, e);
		if (r)
			return r;
	}
	return 1;
}

static int detect_mbr(const struct probe *p, char *out, struct err *e)
{
	uint8_t b[SECTOR];
	bool any = false;
	int r = get(p, 0, b, sizeof(b), e);

	if (r <= 0 || b[510] != 0x55 || b[511] != 0xaa)
		return r < 0 ? r : 0;
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *entry = b + 446 + 16 * i;

		if ((entry[0] & 0x7f) || (!entry[4] != !le32(entry + 12)))
			return 0; /* boot code or something else: no partition table */
		any |= entry[4];
	}
	if (!any)
		return 0;
	strcpy(out, "mbr");
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *entry = b + 446 + 16 * i;

		r = entry[4] ? try_partition(p, "mbr", i + 1, le32(entry + 8), out, e) : 0;
		if (r)
			return r;
	}
	return 1;
}

int filesystem_detect(
	filesystem_read read, void *context, uint64_t size, char out[FILESYSTEM_MAX], struct err *e)
{
	struct probe p = {.read = read, .context = context, .size = size};
	const char *found;
	int r;

	out[0] = 0;
	r = detect_at(&p, 0, &found, e);
	if (r < 0)
		return r;
	if (found) {
		strcpy(out, found);
		return 0;
	}
	r = detect_gpt(&p, out, e);
	if (!r)
		r = detect_mbr(&p, out, e);
	return r < 0 ? r : 0;
}
