/* A disk of numbered segments of one size, loaded into memory as they are read: what cloop files and files on a web server have
 * in common. The loader gets the segment's number in key->span and its length in key->room. Any thread. */
#ifndef DISK_SEGMENTS_H
#define DISK_SEGMENTS_H

#include "disk/memory.h"

struct segments {
	struct memory *memory;
	uint64_t size;	  /* bytes of the disk */
	uint32_t segment; /* bytes; the last one may be shorter */
};

int segments_open(struct segments *s, uint64_t size, uint32_t segment, size_t memory_limit, unsigned threads,
	memory_loader load, void *context, struct err *e);
int segments_read(struct segments *s, void *buf, size_t len, uint64_t offset, struct err *e);
void segments_prefetch(struct segments *s, uint64_t offset, uint64_t len);
void segments_close(struct segments *s);

#endif
