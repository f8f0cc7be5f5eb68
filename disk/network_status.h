/* The "network" object of a status: what the requests of an origin were. */
#ifndef DISK_NETWORK_STATUS_H
#define DISK_NETWORK_STATUS_H

#include <jansson.h>

#include "fetch/origin.h"

static inline void network_status(struct origin *o, json_t *out)
{
	struct origin_stats s;

	origin_stats(o, &s);
	json_object_set_new(out, "network", json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:s}", "requests", (json_int_t)s.requests,
		"bytes", (json_int_t)s.bytes, "retries", (json_int_t)s.retries, "bad", (json_int_t)s.bad,
		"gone", (json_int_t)s.gone, "hedges", (json_int_t)s.hedges, "hedge_bytes", (json_int_t)s.hedge_bytes,
		"hedge_budget", s.hedge_budget, "waiting_s", (double)s.trouble_ms / 1000, "reason", s.trouble));
	json_object_set_new(out, "mirrors", origin_status(o));
}

#endif
