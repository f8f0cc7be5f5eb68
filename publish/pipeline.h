/* An input becomes blocks and an index in a store, on all cores: see pipeline.c. */
#ifndef PUBLISH_PIPELINE_H
#define PUBLISH_PIPELINE_H

#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "format/manifest.h"
#include "publish/block_writer.h"
#include "publish/input.h"

#define PIPELINE_JOBS_MAX 256

/* Reads the input to its end and stores it. jobs: compressing threads, 1..PIPELINE_JOBS_MAX; memory
 * is about (2 * jobs + 2) * SCANNER_SLAB. progress may be NULL. tree: root, depth, size of what was
 * stored; chunks: entries of its index, holes included. -EINTR after cancel_request(). */
int pipeline_run(struct input *in, struct block_writer *w, unsigned jobs, struct progress *progress,
	struct tree *tree, uint64_t *chunks, struct err *e);

/* Processors that this process may use. */
unsigned pipeline_default_jobs(void);

#endif
