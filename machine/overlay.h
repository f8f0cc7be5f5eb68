/* The overlay of a machine of QEMU: a copy-on-write file (format/qcow2.h) that fits its disk. */
#ifndef MACHINE_OVERLAY_H
#define MACHINE_OVERLAY_H

#include "base/err.h"
#include "format/cow.h"

/* As cow_prepare(): makes one that is missing, bound to the image (NULL: it is none in a store; then the disk's size and time tell), and looks at one that is there. */
int overlay_prepare(const char *overlay, const char *disk, const struct cow_binding *image, struct err *e);

/* A new one that has no name, in $TMPDIR or /var/tmp: it is gone with its last user. Returns its descriptor. */
int overlay_temporary(const char *disk, struct err *e);

#endif
