/* Room for bytes: see room.h. */
#include "base/room.h"

void room_init(struct room *r, size_t limit)
{
	*r = (struct room){.limit = limit};
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
}

void room_destroy(struct room *r)
{
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
}

void room_take(struct room *r, size_t n)
{
	uint64_t ticket;

	pthread_mutex_lock(&r->lock);
	ticket = r->next++;
	while (ticket != r->serving || (r->used && (r->used > r->limit || n > r->limit - r->used)))
		pthread_cond_wait(&r->changed, &r->lock);
	r->serving++;
	r->used += n;
	pthread_cond_broadcast(&r->changed); /* the next one may fit, too */
	pthread_mutex_unlock(&r->lock);
}

void room_give(struct room *r, size_t n)
{
	pthread_mutex_lock(&r->lock);
	r->used -= n;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}
