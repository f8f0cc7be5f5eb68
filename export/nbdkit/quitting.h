/* Ending when a signal says so: nbdkit waits for running requests, which may wait for the network, and for clients until they leave, and
 * tells no plugin that the end has come. So its signal handlers are wrapped: each wakes up a thread, which makes the disk's reads fail, and
 * ends the process if nbdkit has not come to its end after QUITTING_GRACE_MS, or at the second signal. One disk for the process. */
#ifndef NBDKIT_QUITTING_H
#define NBDKIT_QUITTING_H

#include "disk/disk.h"

#define QUITTING_GRACE_MS 2000

/* Signals that end nbdkit end the process at once, until quitting_watch(): while an image is opened there is nothing to end with care. */
void quitting_at_once(void);

/* From now on these signals do what nbdkit wants, and disk_cancel(). 0 or -errno. */
int quitting_watch(struct disk *d);

/* nbdkit has come to its end: stops watching; the disk is cancelled and may be closed. */
void quitting_end(void);

#endif
