/* Recognises files that hold a disk in a form that is not read here, so that a person is told what to do with them; read as raw
 * disks they would only look empty. */
#ifndef DISK_FOREIGN_H
#define DISK_FOREIGN_H

#include "disk/source.h"

/* Refuses such a file: -EMEDIUMTYPE, with what it is and what to do. 0 for all others. */
int foreign_refuse(struct source *file, struct err *e);

#endif
