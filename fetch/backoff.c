/* Jittered exponential backoff: see backoff.h. */
#include "fetch/backoff.h"

#include <sys/random.h>

#include "base/clock.h"

static uint64_t random_number(void)
{
	uint64_t x;

	if (getrandom(&x, sizeof(x), GRND_NONBLOCK) != sizeof(x)) /* early in a boot */
		x = clock_us() * 0x9e3779b97f4a7c15u >> 16;
	return x;
}

uint64_t backoff_ms(unsigned tries)
{
	uint64_t most = BACKOFF_FIRST_MS;

	while (tries-- > 1 && most < BACKOFF_MOST_MS)
		most *= 2;
	if (most > BACKOFF_MOST_MS)
		most = BACKOFF_MOST_MS;
	return most / 2 + random_number() % (most / 2 + 1);
}
