/* The choice of a mirror: see choice.h.
 *
 * An answer is expected after the mirror's latency and the time that its throughput takes for what is in flight there and the answer
 * itself. Where a part of the answers was of no use (a cache folder that does not have everything, a flaky server), the
 * same part of a second try elsewhere is added: so such a mirror is asked where it saves more than it wastes.
 *
 * What is not known cannot be compared. So that it gets known, a mirror is asked out of turn, one request at a time, when nothing is known of it, when
 * it was not asked for long, or when it is demoted and its backoff has passed. */
#include "fetch/choice.h"

#define UNKNOWN_US 1e6 /* what a mirror is taken for of which nothing is known */
#define PROBE_DEMANDED_MS 1000 /* so much longer is one that failed left alone by requests that somebody waits for */

static bool waits(const struct mirror *m, uint64_t now_ms)
{
	return now_ms < m->not_before_ms;
}

static bool works(const struct mirror *m)
{
	return !m->failures;
}

double choice_time_us(const struct mirror *m, double bytes)
{
	const struct estimate *s = &m->estimate;

	if (!estimate_known(s))
		return 0;
	return s->latency_us + estimate_body_us(s, m->ahead + bytes);
}

static bool candidate(const struct choice *c, size_t i)
{
	return !waits(c->mirrors[i], c->now_ms) && !(c->excluded && c->excluded(c->context, i));
}

/* The shortest time of working mirrors other than `but`; 0: there is none. */
static double elsewhere_us(const struct choice *c, size_t but)
{
	double best = 0;

	for (size_t i = 0; i < c->count; i++) {
		double time = choice_time_us(c->mirrors[i], c->bytes);

		if (i != but && works(c->mirrors[i]) && candidate(c, i) && time > 0 && (best <= 0 || time < best))
			best = time;
	}
	return best;
}

static double cost_us(const struct choice *c, size_t i)
{
	const struct mirror *m = c->mirrors[i];
	double waste = estimate_waste(&m->estimate);

	if (!estimate_known(&m->estimate)) /* with others that are not known: where the least waits already */
		return UNKNOWN_US * (1 + m->in_flight);
	return choice_time_us(m, c->bytes * (1 - waste)) + waste * elsewhere_us(c, i);
}

/* Is it to be asked only so that it gets known? */
static bool out_of_turn(const struct choice *c, const struct mirror *m)
{
	uint64_t idle_ms = c->now_ms - m->asked_ms;

	if (m->in_flight)
		return false;
	if (!works(m))
		return c->now_ms >= m->retry_at_ms + (c->background ? 0 : PROBE_DEMANDED_MS);
	return !estimate_known(&m->estimate) || idle_ms >= (c->background ? CHOICE_STALE_BACKGROUND_MS : CHOICE_STALE_MS);
}

int choice_second(const struct choice *c)
{
	int best = -1;

	for (size_t i = 0; i < c->count; i++)
		if (works(c->mirrors[i]) && candidate(c, i) && (best < 0 || cost_us(c, i) < cost_us(c, (size_t)best)))
			best = (int)i;
	return best;
}

/* Of those that failed: one whose backoff has passed, where the least waits. */
static int least_bad(const struct choice *c)
{
	int best = -1;

	for (size_t i = 0; i < c->count; i++) {
		const struct mirror *m = c->mirrors[i], *b = best < 0 ? NULL : c->mirrors[best];
		bool due = c->now_ms >= m->retry_at_ms;

		if (works(m) || !candidate(c, i))
			continue;
		if (!b || (due && c->now_ms < b->retry_at_ms) || (due == (c->now_ms >= b->retry_at_ms) && m->in_flight < b->in_flight))
			best = (int)i;
	}
	return best;
}

int choice_best(const struct choice *c)
{
	int good = choice_second(c);

	if (good < 0)
		return least_bad(c);
	if (out_of_turn(c, c->mirrors[good]))
		return good;
	for (size_t i = 0; i < c->count; i++)
		if (candidate(c, i) && out_of_turn(c, c->mirrors[i]))
			return (int)i;
	return good;
}
