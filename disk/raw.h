/* Plain bytes as sources: a file or block device on this machine, or a resource on a web server read by ranges. */
#ifndef DISK_RAW_H
#define DISK_RAW_H

#include "disk/source.h"
#include "fetch/origin.h"

/* Which content a file has, as far as it can be told without reading it. */
struct file_version {
	uint64_t size;
	int64_t seconds, nanoseconds; /* of the last change; 0 of a block device */
};
struct http_version {
	uint64_t size;
	char etag[256]; /* "": the server gives none */
};

/* A local file or block device. -EINVAL for an empty one. version: what it is now; NULL: nobody asks. */
int file_source_open(struct source **out, const char *path, struct file_version *version, struct err *e);

/* One that is open; taken over on success. size: bytes of it, from its begin. */
int file_source_take(struct source **out, int fd, uint64_t size, struct err *e);

/* The resource at the origin's URL. The server must answer ranges. If it changes while it is used (its ETag), reads fail
 * with -ESTALE rather than mix two contents; a server without strong ETags is used with a warning, and its size watched.
 * version: where its size is not 0, this one is read, and the server is not asked first; else it is set; NULL: nobody asks.
 * memory_limit: bytes. The origin is borrowed and must outlive the source. */
int http_source_open(struct source **out, struct origin *origin, size_t memory_limit, struct http_version *version, struct err *e);

#endif
