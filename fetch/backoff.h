/* How long to wait before the next try: exponential, with jitter, so that many clients do not
 * return in step. Any thread. */
#ifndef FETCH_BACKOFF_H
#define FETCH_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 10000

/* tries: how many failed so far, from 1 on. Between half and all of 100 ms, 200 ms, ... 10 s. */
uint64_t backoff_ms(unsigned tries);

#endif
