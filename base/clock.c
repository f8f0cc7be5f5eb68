/* The monotonic clock. */
#include "base/clock.h"

#include <errno.h>
#include <time.h>

uint64_t clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_ms(void)
{
	return clock_us() / 1000;
}

void clock_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

int clock_cond_wait(pthread_cond_t *c, pthread_mutex_t *m, uint64_t until_ms)
{
	struct timespec t;

	if (!until_ms)
		return -pthread_cond_wait(c, m);
	t.tv_sec = (time_t)(until_ms / 1000);
	t.tv_nsec = (long)(until_ms % 1000) * 1000000;
	return -pthread_cond_timedwait(c, m, &t);
}
