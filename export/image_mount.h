/* An image mounted by FUSE for as long as the process gets no signal that ends it. */
#ifndef EXPORT_IMAGE_MOUNT_H
#define EXPORT_IMAGE_MOUNT_H

#include <stdbool.h>

#include "disk/image.h"

struct image_mount {
	const char *dir; /* an existing, empty folder */
	bool bulk, allow_other; /* see fuse.h */
	void (*ready)(void *context); /* called once when the mount is there */
	void *context;
};

/* Mounts image->disk and serves until it is unmounted or a signal comes (INT, TERM, HUP): these
 * are blocked meanwhile. Before and after it they end the process as ever, so that nobody waits for a server that is gone. All
 * other threads must have them blocked (base/thread.h). */
int image_mount_serve(struct image *image, const struct image_mount *m, struct err *e);

#endif
