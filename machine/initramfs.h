/* The guest's initramfs: the one made at build time, and behind it the modules that a kernel needs, and what only this guest has. */
#ifndef MACHINE_INITRAMFS_H
#define MACHINE_INITRAMFS_H

#include "base/buf.h"
#include "base/err.h"

#define INITRAMFS_AUTHORITY "Xauthority" /* the X clients' cookie, in the root folder */

/* Writes the initramfs to path. modules: a folder /.../modules/VERSION, of whose files those in guest/modules.list are added; or NULL. authority: the file of that name; or NULL. */
int initramfs_write(const char *path, const char *modules, const struct buf *authority, struct err *e);

#endif
