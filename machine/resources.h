/* The files that the program brings along: the guest's initramfs, the list of modules, the preload object, the plugin of nbdkit, recipes. */
#ifndef MACHINE_RESOURCES_H
#define MACHINE_RESOURCES_H

#include "base/err.h"

/* The path of one, allocated: in the folder $INETBOOT_DATA, beside the program as it was built, or where it was installed. NULL and e
 * set where it is nowhere. */
char *resource_path(const char *name, struct err *e);

#endif
