/* The kernel command line that an image's publisher asks for. A User-Mode Linux kernel takes options that reach into the host (`ubd1=/home/...`,
 * `con1=...`, `initrd=...`), so only words that mean something inside the guest alone are let through. */
#ifndef MACHINE_CMDLINE_H
#define MACHINE_CMDLINE_H

#include "base/buf.h"

/* Appends the words of `text` that are safe, separated by spaces, to kept, and the others to refused. */
int cmdline_filter(const char *text, struct buf *kept, struct buf *refused);

/* For a kernel that cannot reach into the host: appends to kept all words, each behind a space, but those that say where root and console are. */
int cmdline_without_root(const char *text, struct buf *kept);

#endif
