/* Ending while reads wait for the network: nbdkit waits for its clients' running requests at the end, and tells no plugin that the end has
 * come. So its signal handlers are wrapped: each wakes up a thread, and that makes the disk's reads fail. One disk for the process. */
#ifndef NBDKIT_QUITTING_H
#define NBDKIT_QUITTING_H

#include "disk/disk.h"

/* Signals that end nbdkit end the process at once, until quitting_watch(): while an image is opened there is nothing to end with care. */
void quitting_at_once(void);

/* From now on these signals do what nbdkit wants, and disk_cancel(). 0 or -errno. */
int quitting_watch(struct disk *d);

/* Stops watching; the disk is cancelled and may be closed. */
void quitting_end(void);

#endif
