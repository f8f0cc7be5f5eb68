/* The pages of a boot pack, over the image that they belong to: a source that reads what the pack
 * has from a playback (playback.h) and the rest, or what will not come in time, from the source
 * below. */
#ifndef DISK_PACK_SOURCE_H
#define DISK_PACK_SOURCE_H

#include "disk/playback.h"
#include "disk/source.h"

/* Takes both over on success. */
int pack_source_open(
	struct source **out, struct source *below, struct playback *playback, struct err *e);

#endif
