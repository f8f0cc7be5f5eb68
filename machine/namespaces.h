/* Namespaces of our own, so that a machine leaves nothing behind however it ends: a mount seen by it alone, and a process tree that the
 * kernel ends with its first process. For an ordinary user in a user namespace that maps just him. */
#ifndef MACHINE_NAMESPACES_H
#define MACHINE_NAMESPACES_H

#include <stdbool.h>

#include "base/err.h"

/* Moves this process into a mount namespace of its own. -EPERM and the like where the kernel does not let us: the caller goes on without.
 * The process must have one thread. */
int namespaces_enter(struct err *e);

/* A private folder for the files of what runs here: in a mount namespace of our own (isolated) base itself, as an empty tmpfs that goes with
 * the namespace; else a new one below it, which is to be removed. Allocated; NULL and e set. */
char *namespaces_folder(const char *base, bool isolated, struct err *e);

#endif
