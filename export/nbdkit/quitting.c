/* Wrapping nbdkit's signal handlers: see quitting.h. The wrapper may only do what is safe in a handler: post a semaphore, and call what was
 * there before. */
#include "export/nbdkit/quitting.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

static const int signals[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct {
	struct sigaction before[SIGNALS]; /* nbdkit's */
	sem_t wake;
	pthread_t thread;
	struct disk *disk; /* NULL: nobody watches */
	atomic_bool ended; /* nbdkit has come to its end by itself */
} quitting;

static bool is_handler(const struct sigaction *a)
{
	return !(a->sa_flags & SA_SIGINFO) && a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN;
}

static void on_signal(int number)
{
	int kept = errno;

	sem_post(&quitting.wake);
	for (size_t i = 0; i < SIGNALS; i++)
		if (signals[i] == number)
			quitting.before[i].sa_handler(number);
	errno = kept;
}

static void *wait_for_end(void *context)
{
	struct timespec until;

	while (sem_wait(&quitting.wake) < 0)
		;
	disk_cancel(quitting.disk);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += QUITTING_GRACE_MS / 1000;
	if (!quitting.ended)
		sem_clockwait(&quitting.wake, CLOCK_MONOTONIC, &until);
	if (quitting.ended)
		return NULL;
	log_info("ending, though clients are connected still");
	_exit(0);
}

static void set_handlers(void (*handler)(int))
{
	for (size_t i = 0; i < SIGNALS; i++) {
		struct sigaction action = quitting.before[i];

		if (!is_handler(&action))
			continue;
		action.sa_handler = handler;
		sigaction(signals[i], &action, NULL);
	}
}

void quitting_at_once(void)
{
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], NULL, &quitting.before[i]);
	set_handlers(SIG_DFL);
}

int quitting_watch(struct disk *d)
{
	int r;

	sem_init(&quitting.wake, 0, 0);
	quitting.disk = d;
	r = thread_start(&quitting.thread, wait_for_end, NULL);
	if (r < 0)
		quitting.disk = NULL;
	else
		set_handlers(on_signal);
	return r;
}

void quitting_end(void)
{
	if (!quitting.disk)
		return;
	for (size_t i = 0; i < SIGNALS; i++)
		if (is_handler(&quitting.before[i]))
			sigaction(signals[i], &quitting.before[i], NULL);
	quitting.ended = true;
	sem_post(&quitting.wake);
	pthread_join(quitting.thread, NULL);
	quitting.disk = NULL;
}
