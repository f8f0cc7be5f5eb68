/* Running other programs, with their arguments as a list and never through a shell; and a private
 * temporary folder that goes away however this process ends. */
#ifndef PUBLISH_TOOL_H
#define PUBLISH_TOOL_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define TOOL_ARGS_MAX 48

struct tool {
	const char
		*package; /* the Debian package that has it, for the message where it is missing */
	const char *argv[TOOL_ARGS_MAX]; /* NULL-terminated; argv[0] is looked for in PATH and in
					    the sbin folders */
	const char *env[4];              /* "NAME=value", NULL-terminated; added to ours */
	const char *input;               /* what it reads, a text; NULL: nothing */
	struct buf *output;              /* what it prints is appended here; NULL: dropped */
};

/* Runs it to its end. Where it fails, e names it and quotes the last line of its error output. It
 * is killed when this process dies, and ended by cancel_request(): -EINTR. Call it while no other thread runs. */
int tool_run(const struct tool *t, struct err *e);

/* Fills argv with `more` (NULL-terminated) behind what is there. */
void tool_args(struct tool *t, const char *const *more);

struct workspace {
	char *path;    /* of a folder of mode 0700 below $TMPDIR or /var/tmp; owned */
	int keep_open; /* while it is, the folder stays */
	pid_t janitor; /* a process that waits for that, and removes the folder */
};

#define WORKSPACE_INIT                                                                             \
	{                                                                                          \
		.keep_open = -1                                                                    \
	}

int workspace_open(struct workspace *w, struct err *e);

/* Refuses where the folder's file system has less than `bytes` free: -ENOSPC, with that advice. */
int folder_needs(const char *dir, uint64_t bytes, const char *advice, struct err *e);
int workspace_needs(const struct workspace *w, uint64_t bytes, struct err *e);

/* Returns when the folder is gone. */
void workspace_close(struct workspace *w);

#endif
