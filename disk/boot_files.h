/* The files of an image's boot entries: a kernel, its initrd, modules. One thread. */
#ifndef DISK_BOOT_FILES_H
#define DISK_BOOT_FILES_H

#include "disk/image.h"

/* Finds an entry: wanted is its title, its number (from 1 on), or NULL for the first; type: only of these types, separated by commas; or NULL. Belongs to the manifest.
 * NULL and e set, with what there is. */
const struct boot_entry *boot_entry_find(const struct manifest *m, const char *wanted, const char *type, struct err *e);

/* Writes them into an open folder, each whole or not at all: `kernel`, `initrd`, `module.1` and on, as far as the entry has them; and what a
 * script wants to know of it, each as a line of text: `type`, `title`, `cmdline`, and `link`: `link`, which the image
 * was opened by, to just this version. Files of
 * these names are replaced, those that the entry does not have are removed. Shows progress. */
int boot_files_write(struct image *image, const char *link, const struct boot_entry *b, int folder, struct err *e);

#endif
