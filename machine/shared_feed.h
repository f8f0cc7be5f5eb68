/* One feed for several machines of the same version of an image: they read the same file, and the kernel keeps its pages once. It lives in
 * a process of its own, which begins with the first machine and ends with the last.
 *
 * They meet at a Unix socket disk-KEY (SOCK_SEQPACKET) in runtime_dir(), KEY made of the link and of those options that a reader notices.
 * disk-KEY.start is locked by who joins, and by the process when it wants to end: so nobody joins one that ends. To each member it sends
 *
 *	the feed's report, as a worker makes it (feed.c), with a descriptor of the disk, and a byte with one of the status, both O_PATH; or a report
 *	of an error alone
 *	then messages for people, as they come
 *
 * and a member stays as long as it keeps the connection. */
#ifndef MACHINE_SHARED_FEED_H
#define MACHINE_SHARED_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "disk/image.h"
#include "machine/feed.h"

struct shared_feed {
	int connection;
	int disk, status; /* O_PATH */
	struct feed feed; /* what the report says; no process, no paths */
};

#define SHARED_FEED_INIT {.connection = -1, .disk = -1, .status = -1, .feed = {.pid = -1}}

/* Joins the feed of that link, which names a version by its number, or starts it; then the other options are those of the first. Waits for the
 * disk, -ETIMEDOUT where it is not there before until_ms (clock_ms(); 0: no limit). Call while the process has one thread, and
 * before it enters namespaces. shared_feed_leave() in any case. */
int shared_feed_join(struct shared_feed *f, const char *link, const struct image_options *o, uint64_t until_ms, struct err *e);

/* The connection can be read: passes messages on to standard error. -EPIPE: the feed is gone. */
int shared_feed_listen(const struct shared_feed *f);

void shared_feed_leave(struct shared_feed *f);

#endif
