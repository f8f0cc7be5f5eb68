/* Room for bytes that several threads share: who needs some waits until it is free. First come, first served, so that a small need never
 * overtakes a large one for ever. Any thread. */
#ifndef BASE_ROOM_H
#define BASE_ROOM_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct room {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t limit, used;
	uint64_t next, serving; /* tickets: the next one to be given out, and the one whose turn it is */
};

void room_init(struct room *r, size_t limit);
void room_destroy(struct room *r);

/* Waits until n bytes are free, or all are: a need above the limit is met alone. */
void room_take(struct room *r, size_t n);
void room_give(struct room *r, size_t n);

#endif
