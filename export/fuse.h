/* The virtual disk as a file: `disk` (read-only, the size of the disk) and `status` (JSON, made when it is opened) in a FUSE file system
 * that is mounted already (mountpoint.h). The kernel's page cache is kept: what a guest reads twice is fetched once.
 *
 * Reads run in many threads; a read that waits for the network holds one. */
#ifndef EXPORT_FUSE_H
#define EXPORT_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/disk.h"
#include "export/slots.h"

struct fuse_export_options {
	struct disk *disk;		   /* borrowed */
	char *(*status)(void *context);	   /* gives allocated text, or NULL; any thread */
	void *context;
	size_t buffers;	   /* bytes of reads that are answered at the same time; others wait */
	int64_t mtime;	   /* seconds: modification time of `disk`; must be the same each time for a copy-on-write overlay */
	struct slots *slots; /* borrowed */
	int device;	   /* /dev/fuse, mounted; borrowed */
	bool exact;	   /* the kernel asks for just what is read: where it is known what that will be */
	bool direct;	   /* the kernel keeps no pages: each read comes here */
	bool has_file;	   /* reads of `disk` may go to a file: agree upon passthrough (passthrough.h) where the kernel offers it */
	int32_t (*passthrough)(void *context); /* at each open of `disk`: the number of that file, <= 0: none; any thread; may take a moment. NULL: none */
	uint32_t worker;   /* a number that no other process has that serves the same mount */
};

struct fuse_export;

int fuse_export_open(struct fuse_export **out, const struct fuse_export_options *o, struct err *e);

/* Serves until the file system is unmounted or fuse_export_stop() is called. 0 or -errno. */
int fuse_export_run(struct fuse_export *x, struct err *e);

/* Ends fuse_export_run(), whether it runs already or not. Another thread, not a signal handler. */
void fuse_export_stop(struct fuse_export *x);

/* fuse_export_run() must have returned. */
void fuse_export_close(struct fuse_export *x); /* NULL is fine */

#endif
