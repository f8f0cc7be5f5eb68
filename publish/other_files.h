/* Images of other programs may be built from other files: a qcow2 names a backing file or an
 * external data file, a vmdk names its extents and its parent. Who hands in an image must not get
 * files of this machine published with it. */
#ifndef PUBLISH_OTHER_FILES_H
#define PUBLISH_OTHER_FILES_H

#include "base/err.h"

/* Refuses (-EPERM) an image that would be read from other files. The extents of a vmdk are allowed
 * where each is a plain file NAME.vmdk in the same folder. path is absolute; format as
 * convert_probe() says. Call it before any other program opens the image: opening follows the
 * names. It does not see what a vmdk in one file says of its parent. */
int other_files_check(const char *path, const char *format, struct err *e);

#endif
