/* THE virtual disk: what every exporter reads from. Puts readahead and statistics over a source. Any thread. */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include <jansson.h>

#include "base/err.h"
#include "disk/source.h"
#include "disk/trace.h"

struct disk;

/* Takes over the source (on success only). Starts the readahead thread. */
int disk_open(struct disk **out, struct source *source, struct err *e);
uint64_t disk_size(const struct disk *d); /* bytes */

/* Reads exactly len bytes; as source_read(). */
int disk_read(struct disk *d, void *buf, size_t len, uint64_t offset, struct err *e);

/* Hints and holes past the readahead and the statistics; as source_prefetch() and source_extent(). */
void disk_prefetch(struct disk *d, uint64_t offset, uint64_t len);
int disk_extent(struct disk *d, uint64_t offset, uint64_t len, struct extent *out, struct err *e);

/* Adds "reads", "read_bytes", "readahead_bytes", "read_errors", "last_error" and what the source tells. */
void disk_status(struct disk *d, json_t *out);
/* Running and later reads fail soon: before an exporter ends. */
void disk_cancel(struct disk *d);
/* From now on reads are traced; the disk takes the trace over. Before the first read. */
void disk_trace(struct disk *d, struct trace *t);

void disk_close(struct disk *d); /* NULL is fine */

#endif
