/* A cloop file as a source: the decompressed disk inside. */
#ifndef DISK_CLOOP_H
#define DISK_CLOOP_H

#include "disk/source.h"

/* Does the source hold a cloop file? 1, 0, or -errno. */
int cloop_source_probe(struct source *file, struct err *e);

/* Takes over `file` (on success only). memory_limit: bytes of decompressed blocks. */
int cloop_source_open(struct source **out, struct source *file, size_t memory_limit, struct err *e);

#endif
