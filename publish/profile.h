/* From recorded boots to a boot pack: merges traces, packs the pages, and signs a new version of
 * the same image that names the pack. */
#ifndef PUBLISH_PROFILE_H
#define PUBLISH_PROFILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format/manifest.h"

struct profile_options {
	const char *store;   /* folder */
	const char *name;    /* of the image in it */
	const char *key;     /* file of the secret key */
	const char **traces; /* files */
	size_t trace_count;
	size_t least; /* pages that fewer traces have are left out; 0 and 1: none are */
	int level;    /* zstd */
};

struct profile_result {
	uint64_t version;
	struct profile profile;
};

/* The traces must be of the image's newest version, or of one with the same bytes. */
int profile_image(const struct profile_options *o, struct profile_result *out, struct err *e);

#endif
