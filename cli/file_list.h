/* The files of a file system on a disk, listed by the ordinary tools for it, without mounting it and without privileges. */
#ifndef CLI_FILE_LIST_H
#define CLI_FILE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define FILE_LIST_MAX (2u << 20) /* files */

struct file_entry {
	char *path; /* from the root, with "/" in front; owned */
	char *what; /* all that is told of it: mode, owner, size, time to the minute, on ext4 the inode's number; owned */
	bool folder;
};

struct file_list {
	struct file_entry *list; /* owned; sorted by path */
	size_t count, room;
};

/* disk: path of the disk as a file. filesystem: what filesystem_detect() calls it; -EOPNOTSUPP where no tool for it is known: ext4 (debugfs of
 * e2fsprogs) and squashfs (unsquashfs of squashfs-tools) are. scratch: a folder to write to. */
int file_list_load(struct file_list *out, const char *disk, const char *filesystem, const char *scratch, struct err *e);
void file_list_free(struct file_list *l);

#endif
