/* The process that holds a guest: the first of the guest's process namespace, where the kernel gives us one. When it ends, by itself or killed, the kernel
 * ends all others in there, also those that a panicked User-Mode Linux leaves behind. Where there is no namespace, the guest ends by its parent-death
 * signal, and keeper_end_orphans() ends the rest. */
#ifndef MACHINE_KEEPER_H
#define MACHINE_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

#define KEEPER_FIRST_FD 3 /* what the guest's program gets begins here */
#define KEEPER_FDS_MAX 4

struct keeper {
	char *const *argv, *const *env; /* argv[0] is the program's path */
	int terminal;			/* becomes its standard input, output and error, and the terminal of its session */
	int fds[KEEPER_FDS_MAX];	/* the other files that it gets, as KEEPER_FIRST_FD and on; nothing else of ours is open in it */
	size_t fd_count;
	bool one_cpu;			/* all of it on one CPU, which differs from machine to machine */
};

/* Starts it, in a session and, where the kernel lets us, a process namespace of its own. The pid is that of the keeper, which ends when the
 * guest does, with the guest's exit status (128 + signal where one ended it), and passes SIGIO on to it. The process must have one thread. */
int keeper_start(const struct keeper *k, pid_t *pid, struct err *e);

/* Has it ended? Its exit status; -EAGAIN while it runs. Does not wait. */
int keeper_wait(pid_t pid);

/* Ends all children of this process, of which those of a guest without a namespace of its own become some when it ends. Waits. */
void keeper_end_orphans(void);

#endif
