/* A process that has the kernel read parts of a mounted disk ahead of those who need them: by
 * readahead(2), for which the kernel asks the worker as for any other read.
 *
 * It is a process of its own, without /dev/fuse, for what may go wrong: FUSE's own way to put pages
 * into the page cache (a store notification) waits for pages that a request holds, unkillable, and
 * holds a lock meanwhile that unmounting wants before it aborts that request. A worker that is
 * killed there, and its supervisor with it, would never end, nor would sync(2) on that machine.
 * Here, whoever is killed, the connection ends with the last process that has the device, and with
 * it what this process waits for.
 *
 * It opens the disk for each part anew, and so holds off no unmounting, but in moments. */
#ifndef EXPORT_FILLER_H
#define EXPORT_FILLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct filler {
	pid_t pid;  /* 0: there is none */
	int worker; /* the workers' end of its socket; -1 */
	int own;    /* the process's end, until that is started; -1 */
};

#define FILLER_NONE                                                                                \
	{                                                                                          \
		.worker = -1, .own = -1                                                            \
	}

/* Makes the socket. Best effort, as all here: without it nothing is read ahead. */
void filler_prepare(struct filler *f);

/* Starts the process, once the file system is mounted at dir. It ends with this process, and when
 * no worker's end is open any more. */
void filler_start(struct filler *f, const char *dir);

/* Ends it. */
void filler_stop(struct filler *f);

/* In a worker, with the workers' end: asks for a part, in bytes. False: it has enough to do, for a
 * while now; ask again, or not. */
bool filler_ask(int socket, uint64_t offset, uint64_t len);

#endif
