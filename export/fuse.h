/* The virtual disk as a file: a FUSE mount with `disk` (read-only, the size of the disk) and `status` (JSON, made when it is
 * opened). The kernel's page cache is kept: what a guest reads twice is fetched once. Unprivileged: mounts directly where the caller may
 * (root, or the owner of a user namespace), else through fusermount3.
 *
 * Reads run in many threads; a read that waits for the network holds one. When the process ends, however it ends, the kernel
 * aborts the connection: readers get errors, nothing hangs. */
#ifndef EXPORT_FUSE_H
#define EXPORT_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/disk.h"

struct fuse_export_options {
	struct disk *disk;		   /* borrowed */
	char *(*status)(void *context);	   /* gives allocated text, or NULL; any thread */
	void *context;
	size_t buffers;	   /* bytes of reads that are answered at the same time; others wait */
	int64_t mtime;	   /* seconds: modification time of `disk`; must be the same each time for a copy-on-write overlay */
	bool bulk;	   /* for reading much in order: let the kernel read more ahead (needs root); costs a boot a third more bytes */
	bool allow_other;  /* other users may read it (fuse.conf must allow it, unless root) */
};

struct fuse_export;

/* Mounts at an existing, empty folder. Requests are answered once fuse_export_run() runs; until then readers wait. */
int fuse_export_open(struct fuse_export **out, const char *dir, const struct fuse_export_options *o, struct err *e);

/* Serves until the file system is unmounted or fuse_export_stop() is called. 0 or -errno. */
int fuse_export_run(struct fuse_export *x, struct err *e);

/* Ends fuse_export_run(), which must be running or about to, and waits for its loop. Another thread, not a signal handler. Takes
 * SIGUSR2 for itself. */
void fuse_export_stop(struct fuse_export *x);

/* Unmounts if it is still mounted, frees. fuse_export_run() must have returned. */
void fuse_export_close(struct fuse_export *x);

#endif
