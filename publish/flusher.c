/* Writing out early: see flusher.h. */
#include "publish/flusher.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"

#define INTERVAL_MS 200

struct flusher {
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop;
};

static void *flush(void *context)
{
	struct flusher *f = context;

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		if (clock_cond_wait(&f->changed, &f->lock, clock_ms() + INTERVAL_MS) != -ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&f->lock);
		syncfs(f->fd);
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

struct flusher *flusher_start(int fd)
{
	struct flusher *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	/* A file of its own: an error of the disk is told once for each, and the sync at the end must hear of it. */
	f->fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->fd < 0) {
		free(f);
		return NULL;
	}
	pthread_mutex_init(&f->lock, NULL);
	clock_cond_init(&f->changed);
	if (!thread_start(&f->thread, flush, f))
		return f;
	close(f->fd);
	free(f);
	return NULL;
}

void flusher_stop(struct flusher *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_signal(&f->changed);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
	close(f->fd);
	free(f);
}
