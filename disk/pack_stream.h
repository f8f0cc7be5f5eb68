/* A part of a boot pack as it comes over the network: puts pieces together to the head and to whole
 * segments, checks them, and hands them over. Its take function is a sink for origin_get(): called
 * from one thread at a time, and never waits. */
#ifndef DISK_PACK_STREAM_H
#define DISK_PACK_STREAM_H

#include "base/buf.h"
#include "format/pack.h"

struct pack_stream_ops {
	/* The head is here, and checked: takes the pack over, and gives one like it that lives on.
	 * Not called where the stream began behind the head. 0; 1: that is all that is wanted. */
	int (*head)(void *context, struct pack *pack, const void *bytes, const struct pack **kept);
	/* A segment is here, and has its hash: takes data (allocated) over. 0; 1: that is all;
	 * -EAGAIN: no room now, it is offered again. */
	int (*segment)(void *context, uint32_t segment, uint8_t *data);
};

struct pack_stream {
	const struct pack_stream_ops *ops;
	void *context;
	const struct profile *profile;
	uint64_t image_size;
	const struct pack *pack; /* NULL until the head is here */
	uint64_t at;             /* the next byte of the file that it needs */
	uint32_t segment;        /* the next segment */
	struct buf part;         /* of the head, or of a segment */
};

/* pack: NULL for a stream from the beginning of the file; else one from the beginning of that
 * segment. All pointers are borrowed. */
void pack_stream_init(struct pack_stream *s, const struct pack_stream_ops *ops, void *context,
	const struct profile *profile, uint64_t image_size, const struct pack *pack,
	uint32_t segment);

/* A http_sink, its context being the stream. Bytes that it has had already are passed over. */
int pack_stream_take(void *stream, uint64_t at, const void *data, size_t len, struct err *e);

void pack_stream_free(struct pack_stream *s);

#endif
