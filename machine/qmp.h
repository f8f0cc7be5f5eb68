/* QEMU's control protocol (QMP), on a connection that both sides have from the start. What QEMU says on it is not believed, nor looked at. */
#ifndef MACHINE_QMP_H
#define MACHINE_QMP_H

#include "base/err.h"

/* Has it do a command without arguments. Does not wait for that. */
int qmp_command(int fd, const char *command, struct err *e);

#endif
