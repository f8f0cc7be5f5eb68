/* The monotonic clock, and waiting on a condition against it. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

uint64_t clock_ms(void); /* CLOCK_MONOTONIC in milliseconds */
uint64_t clock_us(void); /* the same in microseconds */

/* Initialises a condition whose timed waits use CLOCK_MONOTONIC. */
void clock_cond_init(pthread_cond_t *c);

/* Waits on c until clock_ms() reaches `until_ms` (0: without limit). Returns 0 when woken, -ETIMEDOUT. */
int clock_cond_wait(pthread_cond_t *c, pthread_mutex_t *m, uint64_t until_ms);

#endif
