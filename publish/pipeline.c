/* The publishing pipeline. A ring of batches; each is one slab of bytes with the pieces that the
 *scanner found in it:
 *
 *	reader (one thread)	EMPTY -> FULL	reads, cuts into chunks and holes
 *	workers (jobs threads)	FULL -> DONE	hash, look whether the store has it, compress, write
 *	caller			DONE -> EMPTY	feeds the index in disk order, shows progress
 *
 * Each side takes batches in ring order, so three counters say all: `filled`, `taken`, `done` by
 *batch and `indexed`. A batch that is ahead of a slow one waits for it, which bounds memory by the
 *ring. One mutex; nobody holds it while working. The first error wins, stops everybody, and is what
 *the caller gets. */
#include "publish/pipeline.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "format/block.h"
#include "format/index.h"

#define BATCH_KEPT 4096 /* pieces of a batch in which nothing was scanned */

struct piece {
	const uint8_t *data; /* in the batch's slab; NULL: a hole, or a block that the store has */
	uint64_t len;
	struct hash hash; /* zero for holes */
};

struct batch {
	uint8_t *slab;        /* owned */
	struct piece *pieces; /* owned */
	size_t count, room;
	bool done;
};

struct pipeline {
	pipeline_produce produce;
	void *producer;
	struct block_writer *writer;
	unsigned size; /* batches in the ring */
	struct batch *ring;
	struct batch *filling; /* the reader's own */

	pthread_mutex_t lock; /* for all below */
	pthread_cond_t changed_full, changed_done, changed_empty;
	uint64_t filled, taken, indexed; /* batches so far; number n lies in ring[n % size] */
	bool ended;                      /* the reader puts no more */
	struct err failure;
};

unsigned pipeline_default_jobs(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : CPU_COUNT(&set);

	return n < 1 ? 1 : n > PIPELINE_JOBS_MAX ? PIPELINE_JOBS_MAX : (unsigned)n;
}

static void fail(struct pipeline *p, const struct err *why)
{
	pthread_mutex_lock(&p->lock);
	if (!p->failure.code)
		p->failure = *why;
	pthread_cond_broadcast(&p->changed_full);
	pthread_cond_broadcast(&p->changed_done);
	pthread_cond_broadcast(&p->changed_empty);
	pthread_mutex_unlock(&p->lock);
}

/* The reader's side. */

static int add_piece(struct batch *b, const struct piece *piece, struct err *e)
{
	if (b->count == b->room) {
		size_t room = b->room ? b->room * 2 : 64;
		struct piece *pieces = reallocarray(b->pieces, room, sizeof(*pieces));

		if (!pieces)
			return err_set(e, -ENOMEM, "no memory for a list of chunks");
		b->pieces = pieces;
		b->room = room;
	}
	b->pieces[b->count++] = *piece;
	return 0;
}

static int on_piece(void *context, const uint8_t *data, uint64_t len, struct err *e)
{
	struct pipeline *p = context;

	return add_piece(p->filling, &(struct piece){.data = data, .len = len}, e);
}

static struct batch *wait_for_empty(struct pipeline *p, uint64_t number)
{
	struct batch *b;

	pthread_mutex_lock(&p->lock);
	while (!p->failure.code && number >= p->indexed + p->size)
		pthread_cond_wait(&p->changed_empty, &p->lock);
	b = p->failure.code ? NULL : &p->ring[number % p->size];
	pthread_mutex_unlock(&p->lock);
	return b;
}

static void hand_over(struct pipeline *p)
{
	pthread_mutex_lock(&p->lock);
	p->filled++;
	pthread_cond_signal(&p->changed_full);
	pthread_mutex_unlock(&p->lock);
}

static uint8_t *on_slab(void *context, const uint8_t *tail, size_t len, struct err *e)
{
	struct pipeline *p = context;
	/* Only this thread changes `filled`. The ring has room for two at least, so this ends. */
	struct batch *b = wait_for_empty(p, p->filled + (p->filling ? 1 : 0));

	if (!b)
		return err_set(e, -ECANCELED, "stopped"), NULL;
	if (!b->slab)
		b->slab = malloc(SCANNER_SLAB);
	if (!b->slab)
		return err_set(e, -ENOMEM, "no memory for %u bytes", SCANNER_SLAB), NULL;
	b->count = 0;
	b->done = false;
	if (len)
		memcpy(b->slab, tail, len);
	if (p->filling)
		hand_over(p);
	p->filling = b;
	return b->slab;
}

static int on_keep(void *context, const struct index_entry *entry, struct err *e)
{
	struct pipeline *p = context;

	if ((!p->filling || p->filling->count >= BATCH_KEPT) && !on_slab(p, NULL, 0, e))
		return e->code;
	return add_piece(p->filling, &(struct piece){.len = entry->length, .hash = entry->hash}, e);
}

/* A pipe may never fill another batch, which would find out too. */
static int stopped(void *context, struct err *e)
{
	struct pipeline *p = context;
	bool failed;

	pthread_mutex_lock(&p->lock);
	failed = p->failure.code;
	pthread_mutex_unlock(&p->lock);
	if (cancel_requested())
		err_set(e, -EINTR, "interrupted");
	else if (failed)
		err_set(e, -ECANCELED, "stopped");
	return e->code;
}

static int read_input(void *producer, const struct pipeline_sink *sink, struct err *e)
{
	struct scanner s;
	int r = 1;

	scanner_init(&s, sink->ops, sink->context);
	while (r > 0) {
		r = sink->stopped(sink->context, e);
		if (!r)
			r = input_feed(producer, &s, e);
	}
	return r < 0 ? r : scanner_end(&s, e);
}

static void *run_reader(void *context)
{
	static const struct scanner_ops ops = {.piece = on_piece, .slab = on_slab};
	struct pipeline *p = context;
	struct pipeline_sink sink = {.ops = &ops, .keep = on_keep, .stopped = stopped, .context = p};
	struct err e = ERR_INIT;

	if (p->produce(p->producer, &sink, &e) < 0)
		fail(p, &e);
	if (p->filling)
		hand_over(p);
	pthread_mutex_lock(&p->lock);
	p->ended = true;
	pthread_cond_broadcast(&p->changed_full);
	pthread_cond_broadcast(&p->changed_done);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* The workers' side. */

static struct batch *take_full(struct pipeline *p)
{
	struct batch *b = NULL;

	pthread_mutex_lock(&p->lock);
	while (!p->failure.code && p->taken == p->filled && !p->ended)
		pthread_cond_wait(&p->changed_full, &p->lock);
	if (!p->failure.code && p->taken < p->filled)
		b = &p->ring[p->taken++ % p->size];
	pthread_mutex_unlock(&p->lock);
	return b;
}

static int work(struct pipeline *p, struct batch *b, struct buf *scratch, struct err *e)
{
	for (size_t i = 0; i < b->count; i++) {
		struct piece *piece = &b->pieces[i];
		int r = 0;

		if (!piece->data && !hash_is_hole(&piece->hash)) {
			r = block_writer_note(p->writer, &piece->hash, e);
		} else if (piece->data && !file_all_zero(piece->data, piece->len)) {
			hash_of(&piece->hash, piece->data, piece->len);
			r = block_writer_put(p->writer, &piece->hash, piece->data, piece->len, scratch, e);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static void *run_worker(void *context)
{
	_cleanup_buf_ struct buf scratch = BUF_INIT(BLOCK_FILE_MAX);
	struct pipeline *p = context;
	struct err e = ERR_INIT;
	struct batch *b;

	while ((b = take_full(p))) {
		if (work(p, b, &scratch, &e) < 0) {
			fail(p, &e);
			break;
		}
		pthread_mutex_lock(&p->lock);
		b->done = true;
		pthread_cond_signal(&p->changed_done);
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

/* The caller's side. */

struct emit_context {
	struct block_writer *writer;
	struct buf scratch;
};

static int emit_node(void *context, const void *node, size_t len, struct hash *hash, struct err *e)
{
	struct emit_context *c = context;

	hash_of(hash, node, len);
	return block_writer_put(c->writer, hash, node, len, &c->scratch, e);
}

/* The next batch in disk order; NULL at the end and after failures. */
static struct batch *wait_for_done(struct pipeline *p)
{
	struct batch *b = &p->ring[p->indexed % p->size];
	bool got;

	pthread_mutex_lock(&p->lock);
	while (!p->failure.code && !(p->indexed < p->filled && b->done) &&
		!(p->ended && p->indexed == p->filled))
		pthread_cond_wait(&p->changed_done, &p->lock);
	got = !p->failure.code && p->indexed < p->filled;
	pthread_mutex_unlock(&p->lock);
	return got ? b : NULL;
}

static void put_back(struct pipeline *p)
{
	pthread_mutex_lock(&p->lock);
	p->indexed++;
	pthread_cond_signal(&p->changed_empty);
	pthread_mutex_unlock(&p->lock);
}

static void show(struct pipeline *p, struct progress *progress, uint64_t done)
{
	char text[TEXT_SIZE_MAX], detail[TEXT_SIZE_MAX + 16];
	struct block_stats stats;

	if (!progress)
		return;
	block_writer_stats(p->writer, &stats);
	text_size(text, stats.new_bytes);
	snprintf(detail, sizeof(detail), "%s new", text);
	progress_show(progress, done, detail);
}

static int build_index(struct pipeline *p, struct progress *progress, struct tree *tree,
	uint64_t *chunks, struct err *e)
{
	struct emit_context c = {.writer = p->writer, .scratch = BUF_INIT(BLOCK_FILE_MAX)};
	struct index_builder *builder = index_builder_new(emit_node, &c);
	struct batch *b;
	uint64_t done = 0;
	int r = builder ? 0 : err_set(e, -ENOMEM, "no memory for the index");

	while (!r && (b = wait_for_done(p))) {
		for (size_t i = 0; !r && i < b->count; i++) {
			struct index_entry entry = {
				.length = b->pieces[i].len, .hash = b->pieces[i].hash};

			r = index_builder_add(builder, &entry, e);
			done += entry.length;
		}
		put_back(p);
		show(p, progress, done);
	}
	if (!r && !p->failure.code)
		r = index_builder_finish(builder, tree, chunks, e);
	index_builder_free(builder);
	buf_free(&c.scratch);
	return r;
}

static int run_threads(struct pipeline *p, unsigned jobs, struct progress *progress,
	struct tree *tree, uint64_t *chunks, struct err *e)
{
	pthread_t reader, workers[PIPELINE_JOBS_MAX];
	struct err own = ERR_INIT;
	unsigned started = 0;
	int r;

	r = -pthread_create(&reader, NULL, run_reader, p);
	if (r < 0)
		return err_set(e, r, "cannot start a thread: %s", strerror(-r));
	while (!r && started < jobs) {
		r = -pthread_create(&workers[started], NULL, run_worker, p);
		started += !r;
	}
	if (r < 0)
		err_set(&own, r, "cannot start a thread: %s", strerror(-r));
	else
		r = build_index(p, progress, tree, chunks, &own);
	if (r < 0)
		fail(p, &own);
	pthread_join(reader, NULL);
	while (started)
		pthread_join(workers[--started], NULL);
	return p->failure.code ? err_set(e, p->failure.code, "%s", p->failure.text) : 0;
}

int pipeline_run(struct input *in, struct block_writer *w, unsigned jobs, struct progress *progress,
	struct tree *tree, uint64_t *chunks, struct err *e)
{
	return pipeline_run_from(read_input, in, w, jobs, progress, tree, chunks, e);
}

int pipeline_run_from(pipeline_produce produce, void *producer, struct block_writer *w,
	unsigned jobs, struct progress *progress, struct tree *tree, uint64_t *chunks, struct err *e)
{
	struct pipeline p = {
		.produce = produce, .producer = producer, .writer = w, .size = 2 * jobs + 2};
	int r;

	p.ring = calloc(p.size, sizeof(*p.ring));
	if (!p.ring)
		return err_set(e, -ENOMEM, "no memory for the pipeline");
	pthread_mutex_init(&p.lock, NULL);
	pthread_cond_init(&p.changed_full, NULL);
	pthread_cond_init(&p.changed_done, NULL);
	pthread_cond_init(&p.changed_empty, NULL);
	r = run_threads(&p, jobs, progress, tree, chunks, e);
	for (unsigned i = 0; i < p.size; i++) {
		free(p.ring[i].slab);
		free(p.ring[i].pieces);
	}
	free(p.ring);
	pthread_cond_destroy(&p.changed_full);
	pthread_cond_destroy(&p.changed_done);
	pthread_cond_destroy(&p.changed_empty);
	pthread_mutex_destroy(&p.lock);
	return r;
}
