/* Writes a cpio archive in the "newc" form that the kernel unpacks as an initramfs (Documentation/driver-api/early-userspace/
 * buffer-format.rst of the kernel). */
#ifndef MACHINE_CPIO_H
#define MACHINE_CPIO_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"

/* Appends one entry: a folder (mode S_IFDIR | ...) or a file. path is relative, without leading slash. 0, -ENOMEM, -EFBIG. */
int cpio_add(struct buf *out, const char *path, mode_t mode, const void *data, size_t len);
/* Appends the entry that ends an archive. */
int cpio_end(struct buf *out);

#endif
