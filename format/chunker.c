/* FastCDC with the gear hash: fp = 2 × fp + gear[byte], over the bytes from CHUNK_MIN on. A bit of
 * the hash depends on as many bytes as its place, so the top bits have seen the last 46 to 64
 * bytes: a cut is where the top bits are all zero. Up to CHUNK_AVG this takes 18 bits (unlikely),
 * behind it 14 bits (likely), which draws the lengths together around the average; the cut lies
 * behind the byte that made it. */
#include "format/chunker.h"

#include <pthread.h>

#include "base/sha256.h"

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

/* The position behind the first byte in [at, end) where the hash meets mask; 0 where there is none.
 */
static size_t scan(const uint8_t *data, size_t at, size_t end, uint64_t mask, uint64_t *state)
{
	uint64_t fp = *state;

	for (; at < end; at++) {
		fp = (fp << 1) + gear[data[at]];
		if (!(fp & mask))
			return at + 1;
	}
	*state = fp;
	return 0;
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
