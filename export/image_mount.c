/* A mounted image: see image_mount.h. One thread waits for signals, all others have them blocked,
 * this one for as long as there is a mount to take down. */
#include "export/image_mount.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "export/fuse.h"

/* Those that end programs, and SIGUSR1 to end the thread that waits for them. */
static sigset_t end_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
	return set;
}

static void *stop_on_signal(void *mount)
{
	sigset_t set = end_signals();
	int number;

	sigwait(&set, &number);
	if (number != SIGUSR1)
		fuse_export_stop(mount);
	return NULL;
}

static char *status_text(void *image)
{
	json_t *status = image_status(image);
	_cleanup_free_ char *text = status ? json_dumps(status, JSON_INDENT(2)) : NULL;
	char *line = NULL;

	json_decref(status);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	return line;
}

static int serve(struct image *image, const struct image_mount *m, struct err *e)
{
	struct fuse_export_options o = {
		.disk = image->disk,
		.status = status_text,
		.context = image,
		.buffers = image->budget.buffers,
		.mtime = image_mtime(image),
		.bulk = m->bulk,
		.allow_other = m->allow_other,
	};
	struct fuse_export *mount;
	pthread_t thread;
	int r = fuse_export_open(&mount, m->dir, &o, e);

	if (r < 0)
		return r;
	r = thread_start(&thread, stop_on_signal, mount);
	if (r < 0) {
		err_set(e, r, "cannot start a thread: %s", strerror(-r));
	} else {
		m->ready(m->context);
		r = fuse_export_run(mount, e);
		pthread_kill(thread, SIGUSR1);
		pthread_join(thread, NULL);
	}
	fuse_export_close(mount);
	return r;
}

int image_mount_serve(struct image *image, const struct image_mount *m, struct err *e)
{
	sigset_t set = end_signals(), before;
	int r;

	pthread_sigmask(SIG_BLOCK, &set, &before);
	r = serve(image, m, e);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}
