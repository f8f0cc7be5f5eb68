/* What is known of a mirror's speed: moving estimates from what its answers took. Pure arithmetic, no clock, no lock. Times are in
 * microseconds, counted from the moment when a connection for the request was looked for. */
#ifndef FETCH_ESTIMATE_H
#define FETCH_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#define ESTIMATE_SAMPLES 32 /* a change of the network is forgotten after as many answers */

struct estimate {
	uint32_t first_us[ESTIMATE_SAMPLES]; /* the latest times to the first byte: a ring */
	unsigned count, next;
	double latency_us;	/* their moving mean */
	double least_us;	/* the shortest since the route is this one: what is left of it without queues; 0: not known */
	double bytes, bytes_us; /* moving sums of what came behind the first byte, and the time that took */
	double delivered;	/* bytes a second of all its transfers: a moving mean; 0: not known */
	double answers, useless; /* moving sums: how many came, and how many of them were not what was wanted */
};

/* Takes in a time to the first byte. */
void estimate_first_byte(struct estimate *s, double us);

/* The way to the mirror is another one now. */
void estimate_route_changed(struct estimate *s);

/* Takes in a body: `us` from its first byte to its last, while `together` transfers (this one included) shared the mirror. */
void estimate_body(struct estimate *s, uint64_t bytes, double us, unsigned together);

/* Takes in whether an answer was of use. A mirror that does not have everything costs a request each time it is asked in vain. */
void estimate_useful(struct estimate *s, bool useful);

/* Is the time to the first byte known at all? */
bool estimate_known(const struct estimate *s);

/* The time within which 95 % of the first bytes came; a guess on the safe side while few are known. */
double estimate_p95_us(const struct estimate *s);

/* Bytes a second of all its transfers together; 0: not known. */
double estimate_rate(const struct estimate *s);

/* How long `bytes` take behind their first one; 0 while that is not known. */
double estimate_body_us(const struct estimate *s, double bytes);

/* Takes in what all its transfers together brought within a time in which there was always one. What one body took says less of that: its
 * bytes come in bursts, while those of others wait. */
void estimate_delivered(struct estimate *s, uint64_t bytes, double us);

/* Bytes that are on their way when they come as fast as they did lately, and no queue has any; 0: not known. */
double estimate_line_bytes(const struct estimate *s);

/* The part of its answers that were of no use, 0 to 1. */
double estimate_waste(const struct estimate *s);

#endif
