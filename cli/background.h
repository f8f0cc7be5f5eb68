/* Going into the background: the caller of a command gets the prompt back when what it started is ready, and its exit status when it
 * could not be started. Call while the process has one thread. */
#ifndef CLI_BACKGROUND_H
#define CLI_BACKGROUND_H

#include <stdbool.h>
#include <sys/types.h>

struct background {
	pid_t pid;    /* in the parent: the child */
	int ready_fd; /* in the child: the parent waits here for a byte */
};

/* Forks. Returns -1 in the child, which has a session of its own. In the parent, once the child is ready or has ended: EXIT_OK, or the
 * child's exit status; the child has said why. */
int background_start(struct background *b);

/* In the child: lets the parent go, and standard input and output, too, so that whoever reads them to their end need not wait for us.
 * Messages go on to log_path, where it is not NULL, else only where they went to a file. */
void background_ready(struct background *b, const char *log_path);

#endif
