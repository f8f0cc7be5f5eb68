/* Moving estimates: see estimate.h. Means move by an eighth with each sample; the high quantile is the one of a ring of samples, which
 * needs no tuning and is right after any jump. */
#include "fetch/estimate.h"

#include <stdlib.h>
#include <string.h>

#define MOVE 0.125
#define DELIVERED_MOVE 0.25
#define FEW 8		     /* samples say little about the highest 5 % */
#define BODY_LEAST 2048	     /* bytes: smaller ones come with the head, and say nothing about throughput */
#define WASTE_MOVE (1.0 / 16)

void estimate_first_byte(struct estimate *s, double us)
{
	s->first_us[s->next] = us < (double)UINT32_MAX ? (uint32_t)us : UINT32_MAX;
	s->next = (s->next + 1) % ESTIMATE_SAMPLES;
	if (s->least_us <= 0 || us < s->least_us)
		s->least_us = us < 1 ? 1 : us;
	s->latency_us = s->count ? s->latency_us + MOVE * (us - s->latency_us) : us;
	if (s->count < ESTIMATE_SAMPLES)
		s->count++;
}

void estimate_route_changed(struct estimate *s)
{
	s->least_us = 0;
}

/* The rate of one transfer says what its mirror can do when it is multiplied by how many shared it. */
void estimate_body(struct estimate *s, uint64_t bytes, double us, unsigned together)
{
	if (bytes < BODY_LEAST)
		return;
	s->bytes += MOVE * ((double)bytes * together - s->bytes);
	s->bytes_us += MOVE * ((us < 1 ? 1 : us) - s->bytes_us);
}

void estimate_useful(struct estimate *s, bool useful)
{
	s->answers += 1 - WASTE_MOVE * s->answers;
	s->useless += !useful - WASTE_MOVE * s->useless;
}

bool estimate_known(const struct estimate *s)
{
	return s->count;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

double estimate_p95_us(const struct estimate *s)
{
	uint32_t sorted[ESTIMATE_SAMPLES];
	unsigned at = (s->count * 95 + 99) / 100;

	if (!s->count)
		return 0;
	memcpy(sorted, s->first_us, sizeof(sorted));
	qsort(sorted, s->count, sizeof(*sorted), compare);
	return s->count < FEW ? 2.0 * sorted[s->count - 1] : sorted[at - 1];
}

double estimate_rate(const struct estimate *s)
{
	return s->bytes_us > 0 ? s->bytes * 1e6 / s->bytes_us : 0;
}

double estimate_body_us(const struct estimate *s, double bytes)
{
	return s->bytes > 0 ? bytes * s->bytes_us / s->bytes : 0;
}

void estimate_delivered(struct estimate *s, uint64_t bytes, double us)
{
	double rate = (double)bytes * 1e6 / us;

	s->delivered += (s->delivered > 0 ? DELIVERED_MOVE : 1) * (rate - s->delivered);
}

double estimate_line_bytes(const struct estimate *s)
{
	return s->delivered * s->least_us / 1e6;
}

double estimate_waste(const struct estimate *s)
{
	return s->useless / (s->answers + 1);
}
