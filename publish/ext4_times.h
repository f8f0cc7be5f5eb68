/* Makes ext4 images of equal trees equal: mke2fs -d copies each file's times of access and of inode
 * change, and those say when the tree was unpacked and read, not what it is. */
#ifndef PUBLISH_EXT4_TIMES_H
#define PUBLISH_EXT4_TIMES_H

#include "base/err.h"

/* Sets access, change and creation time of every inode to its modification time. Only for an image
 * without metadata checksums, 64-bit descriptors and meta block groups, with 256-byte inodes: as
 * convert.c has it made. */
int ext4_times_settle(const char *image, struct err *e);

#endif
