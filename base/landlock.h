/* Landlock: which files and TCP ports this thread and those that it starts may use. By system calls, with constants of our own: C
 * libraries have no functions for it, and old headers not all of its features. What a kernel's version of it cannot
 * restrict stays as it was. */
#ifndef BASE_LANDLOCK_H
#define BASE_LANDLOCK_H

#include <stdbool.h>

#include "base/sandbox.h"

#define LANDLOCK_LEAST 2  /* the first version in which a file may be renamed into another folder: the cache does that */
#define LANDLOCK_PORTS 4  /* the first version that knows TCP ports */
#define LANDLOCK_SCOPES 6 /* the first version that keeps signals and abstract Unix sockets in */

/* Restricts the thread; no_new_privs must be set. Returns the version that is in force now, 0 where there is none, or
 * -errno. */
int landlock_enter(const struct sandbox_rules *rules);

#endif
