/* Times in ext4 inodes: see ext4_times.h. Offsets are from the kernel's documentation of the
 * format. */
#include "publish/ext4_times.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define INODE 256u
#define DESCRIPTOR 32u
#define GROUPS_MAX (1u << 20)       /* 128 TiB: bounds the table of descriptors to 32 MiB */
#define INODES_PER_GROUP_MAX 65536u /* bits of a bitmap of one 8 KiB block; we make 4 KiB ones */

struct geometry {
	uint32_t block, groups, inodes_per_group;
};

static uint32_t get(const uint8_t *p)
{
	uint32_t le;

	memcpy(&le, p, 4);
	return le32toh(le);
}

static int read_geometry(int fd, struct geometry *g, struct err *e)
{
	uint8_t s[1024];
	uint32_t inodes;
	int r = file_pread(fd, s, sizeof(s), 1024);

	if (r < 0)
		return err_set(e, r, "cannot read the new file system: %s", strerror(-r));
	inodes = get(s);
	g->inodes_per_group = get(s + 40);
	/* Log 0..6, 256-byte inodes, no 64bit, meta_bg or checksums. */
	if (get(s + 24) > 6 || (get(s + 88) & 0xffff) != INODE || get(s + 96) & 0x90 ||
		get(s + 100) & 0x410 || !g->inodes_per_group ||
		g->inodes_per_group > INODES_PER_GROUP_MAX)
		return err_set(e, -EINVAL, "mke2fs made another file system than it was told to");
	g->block = 1024u << get(s + 24);
	g->groups = (inodes + g->inodes_per_group - 1) / g->inodes_per_group;
	return g->groups > GROUPS_MAX ? err_set(e, -EFBIG, "the new file system is too large") : 0;
}

static bool settle_inode(uint8_t *inode)
{
	uint8_t before[INODE];

	memcpy(before, inode, INODE);
	memcpy(inode + 8, inode + 16, 4);    /* access = modification */
	memcpy(inode + 12, inode + 16, 4);   /* change */
	memcpy(inode + 132, inode + 136, 4); /* the same, nanoseconds */
	memcpy(inode + 140, inode + 136, 4);
	memcpy(inode + 144, inode + 16, 4); /* creation */
	memcpy(inode + 148, inode + 136, 4);
	return memcmp(before, inode, INODE) != 0;
}

static int settle_table(int fd, uint8_t *table, size_t len, uint64_t offset, struct err *e)
{
	bool changed = false;
	int r = file_pread(fd, table, len, offset);

	for (size_t at = 0; !r && at < len; at += INODE)
		changed |= settle_inode(table + at);
	if (!r && changed)
		r = file_pwrite(fd, table, len, offset);
	return r < 0 ? err_set(e, r, "cannot change the new file system: %s", strerror(-r)) : 0;
}

int ext4_times_settle(const char *image, struct err *e)
{
	_cleanup_close_ int fd = open(image, O_RDWR | O_CLOEXEC);
	_cleanup_free_ uint8_t *descriptors = NULL, *table = NULL;
	struct geometry g;
	size_t len;
	int r;

	if (fd < 0)
		return err_errno(e, "cannot open %s", image);
	r = read_geometry(fd, &g, e);
	if (r < 0)
		return r;
	len = (size_t)g.inodes_per_group * INODE;
	descriptors = malloc((size_t)g.groups * DESCRIPTOR);
	table = malloc(len);
	if (!descriptors || !table)
		return err_set(e, -ENOMEM, "no memory for an inode table");
	/* They follow the superblock's block. */
	r = file_pread(
		fd, descriptors, (size_t)g.groups * DESCRIPTOR, g.block == 1024 ? 2048 : g.block);
	if (r < 0)
		return err_set(e, r, "cannot read the new file system: %s", strerror(-r));
	for (uint32_t i = 0; !r && i < g.groups; i++)
		r = settle_table(fd, table, len,
			(uint64_t)get(descriptors + (size_t)i * DESCRIPTOR + 8) * g.block, e);
	return r;
}
