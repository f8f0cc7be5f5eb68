/* What one mirror of an image's store is worth: is it there, which version has it, how fast is it? For people who ask; a disk that is in use
 * finds out by itself (fetch/estimate.h). */
#ifndef DISK_MEASURE_H
#define DISK_MEASURE_H

#include "disk/image.h"

#define MEASURE_TIMEOUT_MS 6000	     /* for one request, where people did not say */
#define MEASURE_BYTES (4u << 20)     /* that are fetched at most, and a block more */
#define MEASURE_MS 4000		     /* for as long at most, and a block longer */
#define MEASURE_ROUND_TRIPS 5

struct mirror_measure {
	const char *url; /* borrowed */
	bool good;	 /* a manifest that is signed right and not old, and blocks that are what they should be */
	const char *state; /* a word or two; constant */
	uint64_t version;  /* of the manifest, right or not; 0: none */
	double latency_ms; /* median of the answers to small requests; 0: none */
	double bytes_per_s; /* 0: not measured */
	uint64_t bytes, errors;
	char text[ERR_TEXT_MAX]; /* what was wrong, "" where nothing */
};

/* Measures one, which takes a few seconds. newest: what the other mirrors have, or NULL where no manifest is known. Any thread. */
void mirror_measure(struct mirror_measure *out, const char *url, const struct link *link, const struct manifest *newest,
	const struct image_options *o);

/* For sorting, the fastest first: < 0 where a is better. */
int mirror_measure_compare(const struct mirror_measure *a, const struct mirror_measure *b);

#endif
