/* The kernel and initrd of an image, for a machine that starts them: fetched and checked by a confined process of its own. */
#ifndef MACHINE_BOOT_FETCH_H
#define MACHINE_BOOT_FETCH_H

#include <stdint.h>

#include "base/err.h"
#include "disk/image.h"

/* Fetches the files of the image's first boot entry of type linux into an empty folder (disk/boot_files.h has their names). -ENOENT: it has none; -ETIMEDOUT: not before until_ms (clock_ms();
 * 0: no limit). most: bytes of all of them, as they are kept in memory. messages: as log_to() has it. Call while the process has one thread. */
int boot_fetch(const char *link, const struct image_options *o, const char *dir, uint64_t most, int messages, uint64_t until_ms, struct err *e);

#endif
