/* A FUSE session: requests by way of slots (slots.h), handled in many threads by libfuse's operations. It begins with what an earlier
 * worker left in the slots. Threads are started as they are needed, one for each slot at most. */
#ifndef EXPORT_SESSION_H
#define EXPORT_SESSION_H

#include <fuse_lowlevel.h>
#include <stddef.h>

#include "base/err.h"
#include "export/slots.h"

struct session;

/* What fuse_req_userdata() gives in an operation is the session. device: /dev/fuse, mounted; borrowed, like the slots. context: for
 * session_context(). The file system must not ask for features that change a request's form or need operations that it has not: another
 * session may have to go on with it. */
int session_open(struct session **out, const struct fuse_lowlevel_ops *operations, void *context, struct slots *slots, int device,
	struct err *e);
/* Agrees upon passthrough (passthrough.h), where it is the first session of the mount and the kernel offers it. Before it runs. */
void session_want_passthrough(struct session *s);
void *session_context(const struct session *s);

/* Serves until the file system is unmounted (0), session_stop() is called (0), or the device fails. stopped is called when it is about to
 * end, and threads must come back from the operations soon. Takes SIGUSR2 for itself. */
int session_run(struct session *s, void (*stopped)(void *context), struct err *e);

/* Ends session_run(), also before it runs. Any thread but those of the operations. */
void session_stop(struct session *s);

void session_close(struct session *s); /* NULL is fine */

#endif
