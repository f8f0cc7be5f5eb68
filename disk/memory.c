/* Blocks in memory: see memory.h.
 *
 * A block is an entry in one of these states:
 *
 *	FRESH	 just made by the reader that will load it
 *	QUEUED	 wanted ahead; a pool thread, or a reader that comes first, takes it
 *	LOADING	 one thread runs the loader, others wait for `changed`
 *	READY	 in the table; on the LRU list while nobody holds it
 *	FAILED	 out of the table; freed by the last one that waits for it
 *
 * Who needs room that is not there stands in a queue, so that small blocks do not overtake a large one for ever.
 *
 * One mutex guards all; the loader runs without it. A reader that waited for a prefetch which failed tries itself. One that waited for
 * a load which somebody else demanded takes over its failure: else every reader of a block that cannot be had would wait
 * the whole time limit after the one before it. */
#include "disk/memory.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/heap.h"

#define BUCKETS 4096
#define PAGE 4096
#define POOL_STACK (512u << 10) /* bytes: the deepest path is error text on top of zstd and curl calls */

enum state { FRESH, QUEUED, LOADING, READY, FAILED };

struct list {
	struct list *prev, *next;
};

struct entry {
	struct memory_block block; /* first: memory_put() gets its address */
	struct memory_key key;
	struct entry *chain; /* next in the bucket */
	struct list link;    /* in the LRU list or in a queue */
	enum state state;
	bool background; /* whoever loads it does so for nobody */
	unsigned refs;	 /* holders and waiters */
	size_t charge;	 /* bytes that it counts for */
	struct err *why; /* of a FAILED one that was demanded; owned */
};

/* A thread that waits for room, on its stack. */
struct waiter {
	struct waiter *next;
};

struct memory {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a block became ready, failed, or was given back */
	pthread_cond_t work;	/* the pool has something to do */
	memory_loader load;
	void *context;
	size_t limit, used, ahead; /* ahead: the part of used that prefetching in progress takes */
	size_t peak;
	unsigned active; /* entries that somebody holds or loads, and reservations */
	struct waiter *waiters; /* those that wait for room, first come first */
	bool closing;
	struct list lru;	     /* READY without holders, least recently used first */
	struct list wanted[2];	     /* QUEUED: demanded, background */
	struct memory_stats counted;
	unsigned thread_count;
	pthread_t *threads;
	struct entry *buckets[BUCKETS];
};

static void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static void list_append(struct list *head, struct list *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

static void list_remove(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

static struct entry *entry_of(struct list *l)
{
	return (struct entry *)((char *)l - offsetof(struct entry, link));
}

static struct entry **bucket_of(struct memory *m, const struct memory_key *key)
{
	uint64_t n;

	memcpy(&n, key->hash.bytes, sizeof(n));
	return &m->buckets[(n ^ n >> 32 ^ key->span) % BUCKETS];
}

static bool key_equal(const struct memory_key *a, const struct memory_key *b)
{
	return a->span == b->span && a->kind == b->kind && hash_equal(&a->hash, &b->hash);
}

static struct entry *find(struct memory *m, const struct memory_key *key)
{
	struct entry *at = *bucket_of(m, key);

	while (at && !key_equal(&at->key, key))
		at = at->chain;
	return at;
}

static void unlink_entry(struct memory *m, struct entry *n)
{
	struct entry **at = bucket_of(m, &n->key);

	while (*at != n)
		at = &(*at)->chain;
	*at = n->chain;
	list_remove(&n->link);
}

static void set_charge(struct memory *m, struct entry *n, size_t charge)
{
	m->used = m->used - n->charge + charge;
	n->charge = charge;
	if (m->used > m->peak)
		m->peak = m->used;
}

static void free_entry(struct memory *m, struct entry *n)
{
	set_charge(m, n, 0);
	free(n->block.data);
	free(n->why);
	free(n);
}

/* What malloc() takes for n bytes: pages of their own for large blocks, else some for its own use and for gaps. */
static size_t footprint(size_t n)
{
	return n < HEAP_MAP_FROM ? n + n / 4 + 32 : (n + 16 + PAGE - 1) / PAGE * PAGE;
}

static size_t loading_charge(const struct memory_key *key)
{
	return footprint(sizeof(struct entry)) + MEMORY_LOADING * footprint(key->room);
}

/* Evicts until `more` bytes fit. */
static bool make_room(struct memory *m, size_t more)
{
	while (m->used + more > m->limit && m->lru.next != &m->lru) {
		struct entry *oldest = entry_of(m->lru.next);

		unlink_entry(m, oldest);
		free_entry(m, oldest);
	}
	return m->used + more <= m->limit;
}

static struct entry *add_entry(struct memory *m, const struct memory_key *key)
{
	struct entry *n = calloc(1, sizeof(*n)), **bucket = bucket_of(m, key);

	if (!n)
		return NULL;
	n->key = *key;
	n->chain = *bucket;
	*bucket = n;
	list_init(&n->link);
	set_charge(m, n, loading_charge(key));
	return n;
}

/* Drops one reference; a READY entry without holders becomes evictable, a FAILED one goes. */
static void unref(struct memory *m, struct entry *n)
{
	if (--n->refs)
		return;
	m->active--;
	if (n->state == FAILED)
		free_entry(m, n);
	else
		list_append(&m->lru, &n->link);
	if (m->waiters)
		pthread_cond_broadcast(&m->changed);
}

static void ref(struct memory *m, struct entry *n)
{
	if (!n->refs++) {
		m->active++;
		list_remove(&n->link);
	}
}

/* Takes a QUEUED entry off its queue; the queue's reference becomes the caller's. */
static void take_queued(struct memory *m, struct entry *n)
{
	list_remove(&n->link);
	if (n->background)
		m->ahead -= loading_charge(&n->key);
}

/* Runs the loader for an entry that this thread holds a reference of. */
static int load_entry(struct memory *m, struct entry *n, bool background, struct err *e)
{
	struct memory_block made = {0};
	struct err why = ERR_INIT;
	int r;

	n->state = LOADING;
	if (background)
		m->ahead += loading_charge(&n->key);
	m->counted.loads++;
	pthread_mutex_unlock(&m->lock);
	r = m->load(m->context, &n->key, background, &made.data, &made.len, &why);
	pthread_mutex_lock(&m->lock);
	if (background)
		m->ahead -= loading_charge(&n->key);
	if (r < 0) {
		unlink_entry(m, n);
		n->state = FAILED;
		m->counted.failures++;
		if (e)
			*e = why;
		if (!background && n->refs > 1)
			n->why = malloc(sizeof(why));
		if (n->why) {
			why.code = r;
			*n->why = why;
		}
	} else {
		n->block = made;
		n->state = READY;
		set_charge(m, n, footprint(sizeof(*n)) + footprint(made.len));
	}
	if (n->refs > 1 || m->waiters) /* who waits for another block sleeps on */
		pthread_cond_broadcast(&m->changed);
	return r;
}

static void queue_up(struct memory *m, struct waiter *w)
{
	struct waiter **end = &m->waiters;

	while (*end)
		end = &(*end)->next;
	w->next = NULL;
	*end = w;
}

static void leave_queue(struct memory *m, struct waiter *w)
{
	struct waiter **at = &m->waiters;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	pthread_cond_broadcast(&m->changed); /* the next one may fit, too */
}

/* Waits until `charge` bytes fit, or nothing else is there. With a key: or until the block of that name is there, which is returned. */
static struct entry *wait_for_room(struct memory *m, size_t charge, const struct memory_key *key)
{
	struct waiter w;
	struct entry *n = NULL;

	if (!m->waiters && make_room(m, charge))
		return NULL;
	queue_up(m, &w);
	while (!n && (m->waiters != &w || (!make_room(m, charge) && m->active))) {
		pthread_cond_wait(&m->changed, &m->lock);
		n = key ? find(m, key) : NULL;
	}
	leave_queue(m, &w);
	return n;
}

static struct entry *wait_and_add(struct memory *m, const struct memory_key *key)
{
	struct entry *n = wait_for_room(m, loading_charge(key), key);

	if (n)
		return n;
	n = add_entry(m, key);
	if (n)
		n->state = FRESH;
	return n;
}

size_t memory_reserve(struct memory *m, uint32_t room)
{
	size_t charge = MEMORY_LOADING * footprint(room);

	pthread_mutex_lock(&m->lock);
	wait_for_room(m, charge, NULL);
	m->active++;
	m->used += charge;
	if (m->used > m->peak)
		m->peak = m->used;
	pthread_mutex_unlock(&m->lock);
	return charge;
}

void memory_unreserve(struct memory *m, size_t charge)
{
	pthread_mutex_lock(&m->lock);
	m->active--;
	m->used -= charge;
	if (m->waiters)
		pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

/* Waits for a block that another thread loads. */
static int join(struct memory *m, struct entry *n, struct err *e)
{
	m->counted.hits++;
	while (n->state == LOADING)
		pthread_cond_wait(&m->changed, &m->lock);
	if (n->state != FAILED || !n->why)
		return 0;
	if (e)
		*e = *n->why;
	return n->why->code;
}

int memory_get(struct memory *m, const struct memory_key *key, const struct memory_block **out, struct err *e)
{
	struct entry *n;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	for (;;) {
		n = find(m, key);
		if (!n)
			n = wait_and_add(m, key);
		if (!n) {
			r = err_set(e, -ENOMEM, "no memory for a block of %u bytes", key->room);
			break;
		}
		if (n->state == QUEUED)
			take_queued(m, n);
		else
			ref(m, n);
		if (n->state == QUEUED || n->state == FRESH)
			r = load_entry(m, n, false, e);
		else
			r = join(m, n, e);
		if (n->state == READY) {
			*out = &n->block;
			break;
		}
		unref(m, n);
		if (r < 0)
			break;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

void memory_put(struct memory *m, const struct memory_block *block)
{
	pthread_mutex_lock(&m->lock);
	unref(m, (struct entry *)block);
	pthread_mutex_unlock(&m->lock);
}

bool memory_want(struct memory *m, const struct memory_key *key, bool background)
{
	size_t charge = loading_charge(key);
	struct entry *n;
	bool there;

	pthread_mutex_lock(&m->lock);
	n = find(m, key);
	there = n;
	if (!there && !m->closing && !m->waiters && (!background || m->ahead + charge <= m->limit / 2) && make_room(m, charge))
		n = add_entry(m, key);
	if (n && !there) {
		n->state = QUEUED;
		n->background = background;
		if (background)
			m->ahead += charge;
		m->active++;
		n->refs = 1; /* the queue's */
		list_append(&m->wanted[background], &n->link);
		pthread_cond_signal(&m->work);
	}
	pthread_mutex_unlock(&m->lock);
	return n;
}

static void *pool_thread(void *arg)
{
	struct memory *m = arg;

	pthread_mutex_lock(&m->lock);
	while (!m->closing) {
		struct list *first = m->wanted[0].next != &m->wanted[0] ? m->wanted[0].next : m->wanted[1].next;
		struct entry *n;

		if (first == &m->wanted[1]) {
			pthread_cond_wait(&m->work, &m->lock);
			continue;
		}
		n = entry_of(first);
		take_queued(m, n);
		load_entry(m, n, n->background, NULL);
		unref(m, n);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static int start_pool(struct memory *m, unsigned threads, struct err *e)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int r = 0;

	if (!threads)
		return 0;
	m->threads = calloc(threads, sizeof(*m->threads));
	if (!m->threads)
		return err_set(e, -ENOMEM, "no memory for %u threads", threads);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POOL_STACK);
	sigfillset(&all); /* signals are for the threads that wait for them */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (; !r && m->thread_count < threads; m->thread_count += !r)
		r = -pthread_create(&m->threads[m->thread_count], &attr, pool_thread, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return r < 0 ? err_set(e, r, "cannot start a thread: %s", strerror(-r)) : 0;
}

int memory_open(struct memory **out, size_t limit, unsigned threads, memory_loader load, void *context, struct err *e)
{
	struct memory *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return err_set(e, -ENOMEM, "no memory for a block cache");
	pthread_mutex_init(&m->lock, NULL);
	clock_cond_init(&m->changed);
	clock_cond_init(&m->work);
	m->load = load;
	m->context = context;
	m->limit = limit;
	list_init(&m->lru);
	list_init(&m->wanted[0]);
	list_init(&m->wanted[1]);
	r = start_pool(m, threads, e);
	if (r < 0) {
		memory_close(m);
		return r;
	}
	*out = m;
	return 0;
}

void memory_stats(struct memory *m, struct memory_stats *out)
{
	pthread_mutex_lock(&m->lock);
	*out = m->counted;
	out->bytes = m->used;
	out->peak = m->peak;
	for (const struct waiter *w = m->waiters; w; w = w->next)
		out->waiting++;
	pthread_mutex_unlock(&m->lock);
}

void memory_close(struct memory *m)
{
	pthread_mutex_lock(&m->lock);
	m->closing = true;
	pthread_cond_broadcast(&m->work);
	pthread_mutex_unlock(&m->lock);
	for (unsigned i = 0; i < m->thread_count; i++)
		pthread_join(m->threads[i], NULL);
	for (unsigned i = 0; i < BUCKETS; i++)
		while (m->buckets[i]) {
			struct entry *n = m->buckets[i];

			unlink_entry(m, n);
			free_entry(m, n);
		}
	pthread_cond_destroy(&m->changed);
	pthread_cond_destroy(&m->work);
	pthread_mutex_destroy(&m->lock);
	free(m->threads);
	free(m);
}
