/* A cache on a medium that people carry around (`--cache auto`): the folder MEDIUM_FOLDER at the
 * top of a file system that is mounted here. FAT and ext2/3/4 count, with drivers in the kernel or
 * by FUSE: what sticks have. It must be a folder itself, no symbolic link, and writable. Of
 * several, those that are not on the root file system's device go first, then those with more free
 * space, then those that were mounted first. A driver that hangs is left out. Call while the process has one thread. */
#ifndef CACHE_MEDIUM_H
#define CACHE_MEDIUM_H

#include "base/err.h"

#define MEDIUM_FOLDER "knxblock"

/* Finds it, and logs which one it is, and which are there but cannot be used. *out is allocated.
 * -ENOENT where there is none: e is a sentence that tells what to do. */
int medium_find(char **out, struct err *e);

#endif
