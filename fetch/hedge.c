/* When to ask a second mirror: see hedge.h. */
#include "fetch/hedge.h"

#include <math.h> /* HUGE_VAL */

static double lesser(double a, double b)
{
	return a < b ? a : b;
}

static double greater(double a, double b)
{
	return a > b ? a : b;
}

void hedge_earn(struct hedge_budget *b, uint64_t requests, uint64_t bytes)
{
	b->requests = lesser(b->requests + (double)requests * HEDGE_PERCENT / 100, HEDGE_REQUESTS_MAX);
	b->bytes = lesser(b->bytes + (double)bytes * HEDGE_PERCENT / 100, HEDGE_BYTES_MAX);
}

bool hedge_take(struct hedge_budget *b, double bytes)
{
	if (b->requests < 1 || b->bytes < lesser(bytes, HEDGE_BYTES_MAX))
		return false;
	b->requests -= 1;
	return true;
}

void hedge_pay(struct hedge_budget *b, uint64_t bytes)
{
	b->bytes -= (double)bytes;
}

double hedge_late_us(const struct estimate *s, double body_us, const struct hedge_progress *p)
{
	double first = estimate_known(s) ? greater(estimate_p95_us(s), HEDGE_FLOOR_US) : HEDGE_UNKNOWN_US;

	if (!p->connected) /* a new connection takes two or three times the way there and back */
		return 3 * first;
	return p->received ? first + greater(2 * body_us, HEDGE_FLOOR_US) : first;
}

double hedge_patience_us(double late_us, unsigned given_up)
{
	return greater(4 * late_us, HEDGE_GIVE_UP_US) * (1u << (given_up < 8 ? given_up : 8));
}

double hedge_remaining_us(const struct hedge_progress *p)
{
	if (!p->received || !p->length || p->received > p->length)
		return HUGE_VAL;
	return p->spent_us * (double)(p->length - p->received) / (double)p->received;
}
