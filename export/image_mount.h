/* An image mounted by FUSE for as long as the process gets no signal that ends it. */
#ifndef EXPORT_IMAGE_MOUNT_H
#define EXPORT_IMAGE_MOUNT_H

#include <stdbool.h>

#include "disk/image.h"

/* Mounts image->disk at dir, calls ready(context) once, and serves until it is unmounted or a signal comes (INT, TERM, HUP): these
 * are blocked meanwhile. Before and after it they end the process as ever, so that nobody waits for a server that is gone. All
 * other threads must have them blocked (base/thread.h). */
int image_mount_serve(struct image *image, const char *dir, bool allow_other, void (*ready)(void *context), void *context,
	struct err *e);

#endif
