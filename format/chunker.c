/* FastCDC with the gear hash: fp = 2 × fp + gear[byte], over the bytes from CHUNK_MIN on. A bit of
 * the hash depends on as many bytes as its place, so the top bits have seen the last 46 to 64
 * bytes: a cut is where the top bits are all zero. Up to CHUNK_AVG this takes 18 bits (unlikely),
 * behind it 14 bits (likely), which draws the lengths together around the average; the cut lies
 * behind the byte that made it. */
#include "format/chunker.h"

#include <pthread.h>

#include "base/sha256.h"

#define WINDOW 64 /* bytes that the hash depends on: each is shifted out after as many steps */
#define LANES 4
#define LANE 1024 /* bytes */
#define MASK_BEFORE_AVG (~0ULL << (64 - 18))
#define MASK_BEHIND_AVG (~0ULL << (64 - 14))

static uint64_t gear[256];
static pthread_once_t gear_once = PTHREAD_ONCE_INIT;

static void derive_gear(void)
{
	for (unsigned i = 0; i < 256; i++) {
		const uint8_t byte = i;
		struct hash h;

		hash_of(&h, &byte, 1);
		gear[i] = 0;
		for (unsigned k = 0; k < 8; k++)
			gear[i] |= (uint64_t)h.bytes[k] << (8 * k);
	}
}

static inline uint64_t roll(uint64_t fp, uint8_t byte)
{
	return (fp << 1) + gear[byte];
}

/* The position behind the first byte in [at, end) where the hash meets mask; 0 where there is none.
 */
static size_t scan_bytes(const uint8_t *data, size_t at, size_t end, uint64_t mask, uint64_t *state)
{
	uint64_t fp = *state;

	for (; at < end; at++) {
		fp = roll(fp, data[at]);
		if (!(fp & mask))
			return at + 1;
	}
	*state = fp;
	return 0;
}

static uint64_t hash_before(const uint8_t *data)
{
	uint64_t fp = 0;

	for (int i = -WINDOW; i < 0; i++)
		fp = roll(fp, data[i]);
	return fp;
}

/* The same over LANES * LANE bytes, which are more than WINDOW: each step of one hash needs the one
 * before it, so that a processor has time for several. Where one of those meets mask, the order
 * decides: the bytes from there on are looked at one by one. */
static size_t scan_lanes(const uint8_t *data, uint64_t mask, uint64_t *state)
{
	uint64_t a = *state, b = hash_before(data + LANE), c = hash_before(data + 2 * LANE),
		 d = hash_before(data + 3 * LANE);

	for (size_t i = 0; i < LANE; i++) {
		a = roll(a, data[i]);
		b = roll(b, data[i + LANE]);
		c = roll(c, data[i + 2 * LANE]);
		d = roll(d, data[i + 3 * LANE]);
		if (!(a & mask))
			return i + 1;
		if (!(b & mask) || !(c & mask) || !(d & mask)) {
			*state = a;
			return scan_bytes(data, i + 1, LANES * LANE, mask, state);
		}
	}
	*state = d;
	return 0;
}

static size_t scan(const uint8_t *data, size_t at, size_t end, uint64_t mask, uint64_t *state)
{
	for (; end - at >= LANES * LANE; at += LANES * LANE) {
		size_t cut = scan_lanes(data + at, mask, state);

		if (cut)
			return at + cut;
	}
	return scan_bytes(data, at, end, mask, state);
}

size_t chunker_cut(const uint8_t *data, size_t len)
{
	uint64_t fp = 0;
	size_t cut;

	if (len <= CHUNK_MIN)
		return len;
	if (len > CHUNK_MAX)
		len = CHUNK_MAX;
	pthread_once(&gear_once, derive_gear);

	cut = scan(data, CHUNK_MIN, len < CHUNK_AVG ? len : CHUNK_AVG, MASK_BEFORE_AVG, &fp);
	if (!cut && len > CHUNK_AVG)
		cut = scan(data, CHUNK_AVG, len, MASK_BEHIND_AVG, &fp);
	return cut ? cut : len;
}
