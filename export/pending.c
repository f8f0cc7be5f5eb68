/* Interrupting reads: see pending.h. libfuse calls back when the kernel wants a read interrupted; the call-back only marks it, because
 * a request must not be answered in there. One thread answers marked reads when their time has come. A read is in the list as
 * long as its thread works on it, and the list's lock decides who answers. */
#define FUSE_USE_VERSION 312
#include "export/pending.h"

#include <errno.h>

#include "base/clock.h"
#include "base/thread.h"

static uint64_t due(const struct pending_read *p)
{
	return p->since_ms + INTERRUPT_AFTER_MS;
}

/* Answers what is due; returns when the next one is (clock_ms()), 0: none. */
static uint64_t answer_due(struct pending_reads *all)
{
	uint64_t now = clock_ms(), next = 0;

	for (struct pending_read *p = all->first; p; p = p->next) {
		if (!p->interrupted || p->answered)
			continue;
		if (due(p) <= now) {
			p->answered = true;
			fuse_reply_err(p->req, EINTR);
		} else if (!next || due(p) < next) {
			next = due(p);
		}
	}
	return next;
}

static void *answer_interrupted(void *context)
{
	struct pending_reads *all = context;

	pthread_mutex_lock(&all->lock);
	while (!all->closing)
		clock_cond_wait(&all->changed, &all->lock, answer_due(all));
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

int pending_reads_open(struct pending_reads *all)
{
	*all = (struct pending_reads){0};
	pthread_mutex_init(&all->lock, NULL);
	clock_cond_init(&all->changed);
	return thread_start(&all->thread, answer_interrupted, all);
}

void pending_reads_close(struct pending_reads *all)
{
	pthread_mutex_lock(&all->lock);
	all->closing = true;
	pthread_cond_signal(&all->changed);
	pthread_mutex_unlock(&all->lock);
	pthread_join(all->thread, NULL);
	pthread_cond_destroy(&all->changed);
	pthread_mutex_destroy(&all->lock);
}

static void on_interrupt(fuse_req_t req, void *context)
{
	struct pending_read *p = context;
	struct pending_reads *all = p->all;

	pthread_mutex_lock(&all->lock);
	p->interrupted = true;
	pthread_cond_signal(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

void pending_begin(struct pending_reads *all, struct pending_read *p, fuse_req_t req)
{
	*p = (struct pending_read){.all = all, .req = req, .since_ms = clock_ms()};
	pthread_mutex_lock(&all->lock);
	p->next = all->first;
	if (p->next)
		p->next->prev = p;
	all->first = p;
	pthread_mutex_unlock(&all->lock);
	fuse_req_interrupt_func(req, on_interrupt, p);
}

bool pending_end(struct pending_read *p)
{
	struct pending_reads *all = p->all;

	pthread_mutex_lock(&all->lock);
	if (p->prev)
		p->prev->next = p->next;
	else
		all->first = p->next;
	if (p->next)
		p->next->prev = p->prev;
	pthread_mutex_unlock(&all->lock);
	/* Waits for a call-back that is running, which still has p. After EINTR there was one, and none comes again. */
	if (!p->answered)
		fuse_req_interrupt_func(p->req, NULL, NULL);
	return !p->answered;
}
