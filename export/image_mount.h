/* An image mounted by FUSE for as long as the process gets no signal that ends it, and no matter what becomes of the one that reads it:
 *
 *	the supervisor	this process: mounts, holds the device, starts a worker and, when that dies, another one. It never looks at
 *			anything that comes from outside
 *	the worker	its child: opens the image (network, manifest, decompression) and answers requests
 *
 * Readers notice nothing of a worker's death but the time until the next one serves: what it had taken is answered by the next
 * (slots.h), which opens the very same bytes without asking for what is newest (disk/pin.h). */
#ifndef EXPORT_IMAGE_MOUNT_H
#define EXPORT_IMAGE_MOUNT_H

#include <stdbool.h>

#include "disk/image.h"

struct handover;

struct image_mount {
	const char *link;
	const struct image_options *options;
	const char *dir;	/* an existing, empty folder */
	bool bulk;		/* for reading much in order: see mountpoint_raise_readahead() */
	const char *record;	/* a file for a trace of what is read: see disk/trace.h; NULL: none. Then the kernel keeps no pages, so
				   that all reads are seen */
	bool allow_other;	/* other users may read it */
	/* In the worker, once the image is open: what `ready` wants to know of it (at most SLOTS_REPORT_MAX bytes). Allocated; NULL: nothing. */
	char *(*report)(const struct image *image);
	/* In the supervisor, once: the first worker serves. report: "" where there is none. */
	void (*ready)(void *context, const char *report);
	void *context;
	struct handover *handover; /* another program may go on with it, or this one goes on with another's; NULL: neither */
};

/* Mounts and serves until it is unmounted or a signal comes (INT, TERM, HUP). Before the mount is there they end the process as ever, so
 * that nobody waits for a server that is gone. The process must have one thread. */
int image_mount_run(const struct image_mount *m, struct err *e);

#endif
