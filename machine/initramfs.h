/* The guest's initramfs: the one made at build time, and behind it the modules that a kernel needs. */
#ifndef MACHINE_INITRAMFS_H
#define MACHINE_INITRAMFS_H

#include "base/err.h"

/* Writes the initramfs to path. modules: a folder /.../modules/VERSION, of whose files those in guest/modules.list are added; or NULL. */
int initramfs_write(const char *path, const char *modules, struct err *e);

#endif
