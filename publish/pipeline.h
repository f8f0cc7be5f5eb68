/* An input becomes blocks and an index in a store, on all cores: see pipeline.c. */
#ifndef PUBLISH_PIPELINE_H
#define PUBLISH_PIPELINE_H

#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "format/index.h"
#include "format/manifest.h"
#include "publish/block_writer.h"
#include "publish/input.h"
#include "publish/scanner.h"

#define PIPELINE_JOBS_MAX 256

/* Reads the input to its end and stores it. jobs: compressing threads, 1..PIPELINE_JOBS_MAX; memory
 * is about (2 * jobs + 2) * SCANNER_SLAB. progress may be NULL. tree: root, depth, size of what was
 * stored; chunks: entries of its index, holes included. -EINTR after cancel_request(). */
int pipeline_run(struct input *in, struct block_writer *w, unsigned jobs, struct progress *progress,
	struct tree *tree, uint64_t *chunks, struct err *e);

/* The same for whoever has pieces in disk order, some of them in the store already. `produce` runs in
 * the pipeline's reading thread and hands out all of them; its error is that of the call. */
struct pipeline_sink {
	const struct scanner_ops *ops; /* for a scanner, one after the other, and the context below */
	/* A block that the store has, or a hole; not while a scanner holds a slab's tail. */
	int (*keep)(void *context, const struct index_entry *entry, struct err *e);
	/* Shall it end? 0 or -errno with e set. To be asked from time to time. */
	int (*stopped)(void *context, struct err *e);
	void *context;
};
typedef int (*pipeline_produce)(void *producer, const struct pipeline_sink *sink, struct err *e);
int pipeline_run_from(pipeline_produce produce, void *producer, struct block_writer *w,
	unsigned jobs, struct progress *progress, struct tree *tree, uint64_t *chunks, struct err *e);

/* Processors that this process may use. */
unsigned pipeline_default_jobs(void);

#endif
