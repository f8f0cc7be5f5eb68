/* The virtual disk: see disk.h. Ranges to read ahead go to one thread by a small ring, because a source may have to wait for
 * metadata; when the ring is full the oldest wish goes: its reader has passed it by then. */
#include "disk/disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "disk/readahead.h"

#define WISHES 16

struct disk {
	struct source *source;
	struct trace *trace; /* or NULL */
	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_t thread;
	bool closing;
	struct readahead readahead;
	struct {
		uint64_t offset, len;
	} wishes[WISHES];
	unsigned first, count;
	uint64_t reads, bytes, errors, ahead;
	struct err last_error;
};

static void *readahead_thread(void *arg)
{
	struct disk *d = arg;

	pthread_mutex_lock(&d->lock);
	while (!d->closing) {
		uint64_t offset, len;

		if (!d->count) {
			pthread_cond_wait(&d->work, &d->lock);
			continue;
		}
		offset = d->wishes[d->first].offset;
		len = d->wishes[d->first].len;
		d->first = (d->first + 1) % WISHES;
		d->count--;
		pthread_mutex_unlock(&d->lock);
		source_prefetch(d->source, offset, len);
		pthread_mutex_lock(&d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

int disk_open(struct disk **out, struct source *source, struct err *e)
{
	struct disk *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(e, -ENOMEM, "no memory for a disk");
	d->source = source;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->work, NULL);
	r = thread_start(&d->thread, readahead_thread, d);
	if (r < 0) {
		free(d);
		return err_set(e, r, "cannot start a thread: %s", strerror(-r));
	}
	*out = d;
	return 0;
}

uint64_t disk_size(const struct disk *d)
{
	return d->source->size;
}

static void note_read(struct disk *d, uint64_t offset, uint64_t len)
{
	bool expected = source_expects(d->source, offset, len);
	uint64_t from, ahead;

	if (d->trace)
		trace_read(d->trace, offset, len);
	pthread_mutex_lock(&d->lock);
	d->reads++;
	d->bytes += len;
	ahead = expected ? 0 : readahead_note(&d->readahead, offset, len, &from);
	if (ahead) {
		if (d->count == WISHES) {
			d->first = (d->first + 1) % WISHES;
			d->count--;
		}
		d->wishes[(d->first + d->count) % WISHES].offset = from;
		d->wishes[(d->first + d->count) % WISHES].len = ahead;
		d->count++;
		d->ahead += ahead;
		pthread_cond_signal(&d->work);
	}
	pthread_mutex_unlock(&d->lock);
}

int disk_read(struct disk *d, void *buf, size_t len, uint64_t offset, struct err *e)
{
	struct err here = ERR_INIT;
	int r;

	note_read(d, offset, len);
	r = source_read(d->source, buf, len, offset, &here);
	if (!r)
		return 0;
	pthread_mutex_lock(&d->lock);
	d->errors++;
	d->last_error = here;
	pthread_mutex_unlock(&d->lock);
	if (e)
		*e = here;
	return r;
}

void disk_prefetch(struct disk *d, uint64_t offset, uint64_t len)
{
	source_prefetch(d->source, offset, len);
}

int disk_extent(struct disk *d, uint64_t offset, uint64_t len, struct extent *out, struct err *e)
{
	return source_extent(d->source, offset, len, out, e);
}

void disk_status(struct disk *d, json_t *out)
{
	pthread_mutex_lock(&d->lock);
	json_object_set_new(out, "reads", json_integer((json_int_t)d->reads));
	json_object_set_new(out, "read_bytes", json_integer((json_int_t)d->bytes));
	json_object_set_new(out, "readahead_bytes", json_integer((json_int_t)d->ahead));
	json_object_set_new(out, "read_errors", json_integer((json_int_t)d->errors));
	if (d->errors)
		json_object_set_new(out, "last_error", json_string(d->last_error.text));
	pthread_mutex_unlock(&d->lock);
	source_status(d->source, out);
}

void disk_cancel(struct disk *d)
{
	source_cancel(d->source);
}

void disk_trace(struct disk *d, struct trace *t)
{
	d->trace = t;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	source_cancel(d->source);
	pthread_mutex_lock(&d->lock);
	d->closing = true;
	pthread_cond_signal(&d->work);
	pthread_mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	source_close(d->source);
	trace_close(d->trace);
	pthread_cond_destroy(&d->work);
	pthread_mutex_destroy(&d->lock);
	free(d);
}
