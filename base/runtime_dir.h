/* The folder for what lives as long as a login: sockets, the files of machines. */
#ifndef BASE_RUNTIME_DIR_H
#define BASE_RUNTIME_DIR_H

#include "base/err.h"

#define RUNTIME_DIR_MAX 70 /* bytes, at most: a socket's path below it must fit into 108 */

/* $XDG_RUNTIME_DIR/inetboot, else /tmp/inetboot-UID: made with mode 0700 where it is not there, and
 * refused where it is not a folder that this user owns and he alone can write to. No byte of the
 * path has a meaning in User-Mode Linux's command line. Allocated; or NULL, and e says what to do.
 * Any thread. */
char *runtime_dir(struct err *e);

#endif
