/* What file system a disk holds, by the magic numbers that each keeps at a fixed place. */
#ifndef PUBLISH_FILESYSTEM_H
#define PUBLISH_FILESYSTEM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define FILESYSTEM_MAX 32

/* Reads len bytes at offset, inside the disk. */
typedef int (*filesystem_read)(
	void *context, void *buf, size_t len, uint64_t offset, struct err *e);

/* out: "ext2", "ext3", "ext4", "erofs", "squashfs", "xfs", "btrfs", "iso9660", "vfat"; for a disk
 * with a partition table "gpt" or "mbr", and behind it the first partition that holds a Linux file
 * system: "gpt.2.ext4"; "" where nothing is known. Errors are those of reading. */
int filesystem_detect(filesystem_read read, void *context, uint64_t size, char out[FILESYSTEM_MAX],
	struct err *e);

#endif
