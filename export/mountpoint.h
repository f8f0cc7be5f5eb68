/* Where a FUSE file system is mounted: a folder and the device that its requests come from. Unprivileged: mounts directly where the caller
 * may (root, or the owner of a user namespace), else through fusermount3.
 *
 * A process that is killed while it waits for an answer of its own stays for ever, and holds the connection open. So nothing here touches
 * the mount itself: what is to be known of it is read from /proc. */
#ifndef EXPORT_MOUNTPOINT_H
#define EXPORT_MOUNTPOINT_H

#include <stdbool.h>

#include "base/err.h"

struct mountpoint {
	char *dir;  /* absolute; owned */
	int device; /* /dev/fuse, mounted there; -1: not mounted */
	unsigned number[2]; /* the mounted file system's device number; 0, 0: not known */
};

#define MOUNTPOINT_NONE                                                                            \
	{                                                                                          \
		.device = -1                                                                       \
	}

/* Mounts at an existing, empty folder. allow_other: other users may read it (fuse.conf must allow it, unless root). When the process
 * ends, however it ends, the kernel aborts the connection as soon as no process has the device: readers get errors, nothing hangs. */
int mountpoint_open(struct mountpoint *out, const char *dir, bool allow_other, struct err *e);

/* One that is there: takes the device over. dir: as in struct mountpoint; copied. */
int mountpoint_adopt(struct mountpoint *out, const char *dir, int device, struct err *e);

/* Is it unmounted, or the connection cut off? */
bool mountpoint_gone(const struct mountpoint *m);

/* Lets the kernel read more ahead (needs root), once FUSE_INIT has been answered. For reading much in order; costs a boot a third
 * more bytes. */
void mountpoint_raise_readahead(const struct mountpoint *m);

/* Can it be unmounted without a program that has more rights? */
bool mountpoint_needs_no_help(const struct mountpoint *m);

/* Unmounts, if it is still mounted, and frees. */
void mountpoint_close(struct mountpoint *m);

/* The device number of the FUSE file system that is mounted at dir, without asking it. *path: its absolute path, allocated. -ENOENT. */
int mountpoint_find(const char *dir, unsigned number[2], char **path);

#endif
