/* Commands to a running User-Mode Linux, by its management console: a datagram socket. (The protocol is that of uml_mconsole of
 * uml-utilities: u32 magic 0xcafebabe, u32 version 2, u32 length, text; the answer is u32 error, u32 more, u32 length, text.) */
#ifndef MACHINE_MCONSOLE_H
#define MACHINE_MCONSOLE_H

#include "base/err.h"

/* Sends a command ("cad", "halt", "version") and waits for the answer for at most timeout_ms. A guest that is busy may not answer:
 * -ETIMEDOUT. -ECONNREFUSED or -ENOENT: it is gone, or has not started yet. */
int mconsole_command(const char *socket_path, const char *command, int timeout_ms, struct err *e);

#endif
