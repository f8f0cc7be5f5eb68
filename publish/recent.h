/* What was asked for lately and is not there: bounded, forgets after a few seconds. Any thread. */
#ifndef PUBLISH_RECENT_H
#define PUBLISH_RECENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/sha256.h"

#define RECENT_ROOM 4096
#define RECENT_MS 5000

struct recent {
	pthread_mutex_t lock;
	struct {
		struct hash name;
		uint64_t until_ms;
	} entries[RECENT_ROOM]; /* by the first bytes of the name; a later one takes the place of an earlier one */
};

void recent_init(struct recent *r);
void recent_add(struct recent *r, const char *path);
bool recent_has(struct recent *r, const char *path);

#endif
