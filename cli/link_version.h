/* What a link means today. */
#ifndef CLI_LINK_VERSION_H
#define CLI_LINK_VERSION_H

#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "disk/image.h"

struct link_version {
	uint64_t version;	 /* of an image in a store; 0: the link names none */
	char root[HASH_HEX_MAX]; /* its root hash; "" */
};

/* Opens the link as image_open() does, in a confined process of its own. Call while the process has one thread. */
int link_version(const char *link, const struct image_options *o, struct link_version *out, struct err *e);

#endif
