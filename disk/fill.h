/* Filling the cache with the rest of an image while it is in use, until nothing of it needs the
 * network: in the background, while no reader waits for the network and no boot pack comes. It can
 * be paused. Any thread. */
#ifndef DISK_FILL_H
#define DISK_FILL_H

#include <jansson.h>

#include "base/err.h"

struct fill;
struct image;

/* Starts it. The image, one of a store on a server, with a cache, is borrowed. */
int fill_start(struct fill **out, struct image *image, struct err *e);

/* Pauses it, or lets it go on; says so. */
void fill_toggle(struct fill *f);

/* Adds an object "fill": state ("filling", "waiting", "paused", "done", "failed"), and why it
 * failed. */
void fill_status(struct fill *f, json_t *out);

/* Ends it. blocks_cancel() must have been called. NULL is fine. */
void fill_end(struct fill *f);

#endif
