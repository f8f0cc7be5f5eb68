/* When a request that is late is asked of a second mirror, and what that may cost. Pure arithmetic, no clock, no lock.
 *
 * Each request earns HEDGE_PERCENT of a request and of its bytes; a hedge costs one request, and the bytes of the answer that was not
 * used. What is saved up is bounded, so a long quiet time does not pay for a flood; a little is there from the start, since
 * the first requests of a machine matter most. */
#ifndef FETCH_HEDGE_H
#define FETCH_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "fetch/estimate.h"

#define HEDGE_PERCENT 5
#define HEDGE_REQUESTS_MAX 4.0	     /* saved up at most, and at the start */
#define HEDGE_BYTES_MAX (1024.0 * 1024)
#define HEDGE_FLOOR_US 50e3	     /* what comes sooner than this is never late */
#define HEDGE_UNKNOWN_US 1e6	     /* late for a mirror of which nothing is known */
#define HEDGE_GIVE_UP_US 1.5e6	     /* what comes sooner is waited for */

struct hedge_budget {
	double requests, bytes;
};

#define HEDGE_BUDGET_INIT {.requests = HEDGE_REQUESTS_MAX, .bytes = HEDGE_BYTES_MAX}

void hedge_earn(struct hedge_budget *b, uint64_t requests, uint64_t bytes);

/* May a request be made that is expected to cost so many bytes? Then its request is paid. */
bool hedge_take(struct hedge_budget *b, double bytes);

/* Pays for the bytes of an answer that was not used. */
void hedge_pay(struct hedge_budget *b, uint64_t bytes);

struct hedge_progress { /* of a transfer */
	double spent_us;    /* since it began */
	bool connected;	    /* the request is on its way */
	uint64_t received, length; /* bytes of its body; length 0: not known yet */
};

/* After how long a transfer is later than 95 % of its mirror's are; body_us: what its body was expected to take. */
double hedge_late_us(const struct estimate *s, double body_us, const struct hedge_progress *p);

/* After how long nobody should wait for it any more while another mirror is there; given_up: how often this request was given up before,
 * each of which doubles the patience: it may be the network, not the mirror. */
double hedge_patience_us(double late_us, unsigned given_up);

/* How long it will take on, from how it went so far; HUGE_VAL: nothing has come, nobody knows. */
double hedge_remaining_us(const struct hedge_progress *p);

#endif
