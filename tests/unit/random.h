/* What the unit tests share: cmocka with the headers that it wants, and a seeded generator
 * (splitmix64), so that a property test that fails fails again. TEST_SEED in the environment tries
 * another seed. */
#ifndef UNIT_RANDOM_H
#define UNIT_RANDOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct random {
	uint64_t state;
};

static inline struct random random_start(uint64_t seed)
{
	const char *given = getenv("TEST_SEED");
	struct random r = {given ? strtoull(given, NULL, 0) : seed};

	print_message("seed %llu\n", (unsigned long long)r.state);
	return r;
}

static inline uint64_t random_u64(struct random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* 0 to limit - 1 */
static inline uint64_t random_below(struct random *r, uint64_t limit)
{
	return random_u64(r) % limit;
}

static inline void random_fill(struct random *r, void *data, size_t len)
{
	uint8_t *p = data;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = random_u64(r);

		memcpy(p + i, &v, len - i < 8 ? len - i : 8);
	}
}

#endif
