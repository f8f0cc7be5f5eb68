/* Single flights: what many ask for at the same time is made once, and all get it. Two pools of threads make it: what is here already is not kept
 * waiting by what has to be fetched. */
#ifndef PUBLISH_FLIGHTS_H
#define PUBLISH_FLIGHTS_H

#include <stdbool.h>

#include "base/err.h"
#include "publish/server.h"

#define FLIGHTS_NEAR 4	/* threads for what is here */
#define FLIGHTS_FAR 32	/* threads that fetch */

struct flights;

/* Makes the content of a path. far false: without waiting for anybody; returns false where that is not possible, and is called again
 * with far true in another thread, and must return true then. */
typedef bool (*flights_make)(void *context, const char *path, bool far, struct content *out);

int flights_open(struct flights **out, flights_make make, void *context, struct err *e);

/* Takes part in a flight. A ticket, or NULL without memory or after flights_land(). The three as in struct site. Any thread. */
void *flights_join(struct flights *f, const char *path);
void flights_wait(struct flights *f, void *ticket, site_done done, void *waiter);
void flights_finish(struct flights *f, void *ticket, struct content *out);

/* Lets all flights end, and the threads. Whatever makes them wait must have been cancelled. */
void flights_land(struct flights *f);
/* After flights_land(), and when all tickets are finished. NULL is fine. */
void flights_close(struct flights *f);

#endif
