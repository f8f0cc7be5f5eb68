/* Starting a helper thread: one that takes no signals, so that they reach the thread that waits for
 * them. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

/* Returns 0 or a negative errno. */
static inline int thread_start(pthread_t *out, void *(*run)(void *), void *context)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(out, NULL, run, context);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

#endif
