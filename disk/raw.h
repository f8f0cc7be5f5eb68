/* Plain bytes as sources: a file or block device on this machine, or a resource on a web server read by ranges. */
#ifndef DISK_RAW_H
#define DISK_RAW_H

#include "disk/source.h"
#include "fetch/origin.h"

/* A local file or block device. -EINVAL for an empty one. */
int file_source_open(struct source **out, const char *path, struct err *e);

/* The resource at the origin's URL. The server must answer ranges. If it changes while it is used (its ETag), reads fail
 * with -ESTALE rather than mix two contents; a server without strong ETags is used with a warning, and its size watched.
 * memory_limit: bytes. The origin is borrowed and must outlive the source. */
int http_source_open(struct source **out, struct origin *origin, size_t memory_limit, struct err *e);

#endif
