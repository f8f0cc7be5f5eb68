/* The boot pack: the pages of an image that recorded boots touched, in order of first use, so that a boot is one stream instead of
 * thousands of blocks. Version 1:
 *
 *	"IBP1" · u32le segments · u32le extents
 *	segments × (u32le compressed length · 32 bytes SHA-256 of the compressed segment)
 *	extents × (u64le first page · u32le pages)		in order of first use
 *	the segments: zstd frames with their content size, each of PACK_SEGMENT bytes of the extents' pages one after the other; the
 *	last one may be shorter
 *
 * A page is 4 KiB of the image; what its last one lacks is zeros. The manifest names the pack by the SHA-256 of all that stands before the
 * segments (the head); a segment is checked by its own hash before it is decompressed. It is only about speed: the same bytes are in
 * the image's blocks. Pure: no I/O. Any thread. */
#ifndef FORMAT_PACK_H
#define FORMAT_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"
#include "format/manifest.h"

#define PACK_PAGE 4096u
#define PACK_SEGMENT (256u << 10)
#define PACK_SEGMENT_PAGES (PACK_SEGMENT / PACK_PAGE)
#define PACK_SEGMENT_FILE_MAX                                                                      \
	(PACK_SEGMENT + (PACK_SEGMENT >> 8) +                                                      \
		64)             /* what zstd needs for bytes that do not compress */
#define PACK_SEGMENTS_MAX 8192u /* 2 GiB of pages: more than any boot reads */
#define PACK_EXTENTS_MAX 65536u
#define PACK_START 12 /* bytes that tell how long the head is */
#define PACK_SEGMENT_ENTRY 36
#define PACK_EXTENT_ENTRY 12
#define PACK_HEAD_MAX                                                                              \
	(PACK_START + PACK_SEGMENTS_MAX * PACK_SEGMENT_ENTRY + PACK_EXTENTS_MAX * PACK_EXTENT_ENTRY)

#define PACK_PATH_MAX 80
/* "packs/abcdef..." */
void pack_path(const struct hash *name, char out[PACK_PATH_MAX]);

struct pack_segment {
	uint64_t offset; /* in the file */
	uint32_t len;    /* compressed bytes */
	uint32_t pages;
	struct hash hash; /* of the compressed bytes */
};

struct pack_extent {
	uint64_t page; /* of the image */
	uint32_t pages;
	uint32_t place; /* of its first page among the pack's pages */
};

struct pack {
	struct pack_segment *segments; /* owned */
	struct pack_extent *extents;   /* owned; in order of use, so by place */
	uint32_t *by_page;             /* owned; numbers of extents */
	uint32_t segment_count, extent_count, pages;
	uint64_t head_len, size; /* bytes of the head, and of the file */
};

/* How long the head is, from its first PACK_START bytes. -EBADMSG with a sentence where that is no
 * pack, or larger than one may be. */
int64_t pack_head_len(const void *start, struct err *e);

/* Reads the head of the pack that a manifest names in `profile`, of an image of image_size bytes.
 * Every number is checked: the head has the hash; extents lie in the image and do not overlap;
 * segments hold just the extents' pages, and fill the file. -EBADMSG with a sentence; -ENOMEM. On
 * failure *out is empty. */
int pack_open(struct pack *out, const void *head, size_t len, const struct profile *profile,
	uint64_t image_size, struct err *e);

/* Looks up a page of the image. True: it has a place in the pack, and so have the *run - 1 pages
 * behind it, one after the other. False: neither it nor the *run - 1 pages behind it are in the
 * pack. */
bool pack_find(const struct pack *p, uint64_t page, uint32_t *place, uint64_t *run);

/* The number of the extent that has a place; extents in order of use. */
uint32_t pack_extent_at(const struct pack_extent *extents, uint32_t count, uint32_t place);

/* Which page of the image has a place (< pages), and for how many pages, it included, that goes on.
 */
uint64_t pack_page_at(const struct pack *p, uint32_t place, uint32_t *run);

/* Are these the bytes of the segment in the file? */
int pack_segment_check(const struct pack_segment *s, const void *data, struct err *e);
/* Checks, and decompresses into out: s->pages × PACK_PAGE bytes. -EBADMSG. */
int pack_segment_decode(const struct pack_segment *s, const void *data, void *out, struct err *e);

/* Appends the head for segments (len, hash) and extents (page, pages), which must be right. */
int pack_head_encode(const struct pack_segment *segments, uint32_t segment_count,
	const struct pack_extent *extents, uint32_t extent_count, struct buf *out, struct err *e);

void pack_free(struct pack *p); /* an empty one is fine */

#endif
