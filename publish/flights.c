/* Single flights: see flights.h. A flight is in the table from its first ticket until its content is known; who comes later starts another
 * one, which finds in the cache what this one brought. It is freed with its last ticket; content in memory stays as long as somebody
 * sends it. One lock. */
#include "publish/flights.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

#define BUCKETS 256

struct ticket {
	struct flight *flight;
	site_done done; /* NULL: not waiting yet, or called */
	void *waiter;
	struct ticket *next;
};

struct flight {
	struct flights *flights;
	struct flight *chain; /* in the bucket */
	struct flight *behind; /* in the queue */
	struct ticket *tickets; /* that wait */
	unsigned refs; /* tickets, contents handed out, and 1 until it is finished */
	bool finished;
	struct content content;
	char path[SERVER_PATH_MAX + 1];
};

struct queue {
	struct flight *first, **last;
	pthread_cond_t filled;
};

struct flights {
	flights_make make;
	void *context;
	pthread_mutex_t lock;
	struct flight *buckets[BUCKETS];
	struct queue queues[2]; /* near, far */
	bool landing;
	unsigned active; /* flights that are not finished */
	pthread_t threads[FLIGHTS_NEAR + FLIGHTS_FAR];
	unsigned thread_count;
};

struct pilot { /* what a thread begins with */
	struct flights *flights;
	bool far;
};

static struct flight **bucket_of(struct flights *f, const char *path)
{
	unsigned n = 2166136261u;

	for (; *path; path++)
		n = (n ^ (unsigned char)*path) * 16777619u;
	return &f->buckets[(n ^ n >> 16) % BUCKETS];
}

static void enqueue(struct flights *f, struct flight *flight, bool far)
{
	struct queue *q = &f->queues[far];

	flight->behind = NULL;
	*q->last = flight;
	q->last = &flight->behind;
	pthread_cond_signal(&q->filled);
}

static struct flight *dequeue(struct queue *q)
{
	struct flight *flight = q->first;

	q->first = flight->behind;
	if (!q->first)
		q->last = &q->first;
	return flight;
}

/* With the lock, which is left for the last one. */
static void unref(struct flight *flight)
{
	struct flights *f = flight->flights;
	struct content content;

	if (--flight->refs)
		return;
	content = flight->content;
	free(flight);
	pthread_mutex_unlock(&f->lock);
	content_free(&content);
	pthread_mutex_lock(&f->lock);
}

static void remove_flight(struct flights *f, struct flight *flight)
{
	struct flight **at = bucket_of(f, flight->path);

	while (*at != flight)
		at = &(*at)->chain;
	*at = flight->chain;
}

/* With the lock, which is given up while waiters are told. */
static void finish(struct flights *f, struct flight *flight, const struct content *content)
{
	struct ticket *t = flight->tickets, *next;

	remove_flight(f, flight);
	flight->content = *content;
	flight->finished = true;
	flight->tickets = NULL;
	f->active--;
	if (f->landing && !f->active)
		for (int i = 0; i < 2; i++)
			pthread_cond_broadcast(&f->queues[i].filled);
	pthread_mutex_unlock(&f->lock);
	for (; t; t = next) {
		next = t->next; /* a ticket whose waiter was told may be gone */
		t->done(t->waiter);
	}
	pthread_mutex_lock(&f->lock);
	unref(flight);
}

static void *fly(void *context)
{
	struct pilot pilot = *(struct pilot *)context;
	struct flights *f = pilot.flights;
	struct queue *q = &f->queues[pilot.far];

	free(context);
	pthread_mutex_lock(&f->lock);
	while (!f->landing || f->active) {
		struct content content = CONTENT_INIT;
		struct flight *flight;
		bool made;

		if (!q->first) {
			pthread_cond_wait(&q->filled, &f->lock);
			continue;
		}
		flight = dequeue(q);
		pthread_mutex_unlock(&f->lock);
		made = f->make(f->context, flight->path, pilot.far, &content);
		pthread_mutex_lock(&f->lock);
		if (made)
			finish(f, flight, &content);
		else
			enqueue(f, flight, true);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static int start_thread(struct flights *f, bool far)
{
	struct pilot *pilot = malloc(sizeof(*pilot));
	int r;

	if (!pilot)
		return -ENOMEM;
	*pilot = (struct pilot){f, far};
	r = thread_start(&f->threads[f->thread_count], fly, pilot);
	if (r < 0)
		free(pilot);
	else
		f->thread_count++;
	return r;
}

int flights_open(struct flights **out, flights_make make, void *context, struct err *e)
{
	struct flights *f = calloc(1, sizeof(*f));
	int r = 0;

	if (!f)
		return err_set(e, -ENOMEM, "no memory for requests");
	f->make = make;
	f->context = context;
	pthread_mutex_init(&f->lock, NULL);
	for (int i = 0; i < 2; i++) {
		f->queues[i].last = &f->queues[i].first;
		pthread_cond_init(&f->queues[i].filled, NULL);
	}
	for (unsigned i = 0; !r && i < FLIGHTS_NEAR + FLIGHTS_FAR; i++)
		r = start_thread(f, i >= FLIGHTS_NEAR);
	if (r < 0) {
		flights_land(f);
		flights_close(f);
		return err_set(e, r, "cannot start a thread: %s", strerror(-r));
	}
	*out = f;
	return 0;
}

/* With the lock. */
static struct flight *find(struct flights *f, const char *path)
{
	struct flight **bucket = bucket_of(f, path), *flight = *bucket;

	while (flight && strcmp(flight->path, path) != 0)
		flight = flight->chain;
	if (flight || f->landing)
		return flight;
	flight = calloc(1, sizeof(*flight));
	if (!flight)
		return NULL;
	flight->flights = f;
	flight->refs = 1;
	strcpy(flight->path, path);
	flight->chain = *bucket;
	*bucket = flight;
	f->active++;
	enqueue(f, flight, false);
	return flight;
}

void *flights_join(struct flights *f, const char *path)
{
	struct ticket *t = calloc(1, sizeof(*t));

	if (!t || strlen(path) > SERVER_PATH_MAX) {
		free(t);
		return NULL;
	}
	pthread_mutex_lock(&f->lock);
	t->flight = find(f, path);
	if (t->flight)
		t->flight->refs++;
	pthread_mutex_unlock(&f->lock);
	if (!t->flight) {
		free(t);
		return NULL;
	}
	return t;
}

void flights_wait(struct flights *f, void *ticket, site_done done, void *waiter)
{
	struct ticket *t = ticket;
	bool finished;

	pthread_mutex_lock(&f->lock);
	finished = t->flight->finished;
	if (!finished) {
		t->done = done;
		t->waiter = waiter;
		t->next = t->flight->tickets;
		t->flight->tickets = t;
	}
	pthread_mutex_unlock(&f->lock);
	if (finished)
		done(waiter);
}

static void release(void *owner)
{
	struct flight *flight = owner;
	struct flights *f = flight->flights;

	pthread_mutex_lock(&f->lock);
	unref(flight);
	pthread_mutex_unlock(&f->lock);
}

void flights_finish(struct flights *f, void *ticket, struct content *out)
{
	struct ticket *t = ticket;
	struct flight *flight = t->flight;

	pthread_mutex_lock(&f->lock);
	*out = flight->content;
	out->release = NULL;
	if (flight->content.fd >= 0) {
		out->fd = fcntl(flight->content.fd, F_DUPFD_CLOEXEC, 0);
		if (out->fd < 0) {
			content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE, "Too many files are open.\n");
			out->retry_after_s = 1;
		}
	} else if (flight->content.data) {
		flight->refs++;
		out->release = release;
		out->owner = flight;
	}
	unref(flight);
	pthread_mutex_unlock(&f->lock);
	free(t);
}

void flights_land(struct flights *f)
{
	pthread_mutex_lock(&f->lock);
	f->landing = true;
	for (int i = 0; i < 2; i++)
		pthread_cond_broadcast(&f->queues[i].filled);
	pthread_mutex_unlock(&f->lock);
	for (unsigned i = 0; i < f->thread_count; i++)
		pthread_join(f->threads[i], NULL);
	f->thread_count = 0;
}

void flights_close(struct flights *f)
{
	if (!f)
		return;
	for (int i = 0; i < 2; i++)
		pthread_cond_destroy(&f->queues[i].filled);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
