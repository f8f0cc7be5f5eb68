/* Fetching what starts an image: see boot_fetch.h. The process says what is wrong through a pipe,
 * and by its exit status whether it is that there is no entry. */
#include "machine/boot_fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "disk/boot_files.h"
#include "disk/confine.h"
#include "machine/feed.h"

enum { FETCHED, FAILED, NO_ENTRY };

/* None of them is larger than 2^50. */
static uint64_t bytes_of(const struct boot_entry *b)
{
	uint64_t sum = b->kernel.size + b->initrd.size;

	for (size_t i = 0; i < b->module_count; i++)
		sum += b->modules[i].size;
	return sum;
}

/* The boot pack is for the disk's own process. */
static int fetch(const char *link, const struct image_options *disk, const char *dir, uint64_t most, struct err *e)
{
	struct image_options own = *disk, *o = &own;
	_cleanup_close_ int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct boot_entry *b;
	struct image *image = NULL;

	own.play = own.fill = false;
	if (folder < 0) {
		err_errno(e, "cannot write to the folder %s", dir);
		return FAILED;
	}
	if (fetch_confine(link, o, dir, e) < 0 || image_open(&image, link, o, e) < 0)
		return FAILED;
	b = boot_entry_find(&image->manifest, NULL, "linux", e);
	if (!b)
		return NO_ENTRY;
	if (bytes_of(b) > most) {
		err_set(e, -E2BIG, "what starts the image has %" PRIu64 " MB, more than the guest's memory: give it more with --memory", bytes_of(b) / 1000000);
		return FAILED;
	}
	return boot_files_write(image, link, b, folder, e) < 0
		       ? FAILED
		       : FETCHED; /* the process ends: nothing is closed */
}

__attribute__((noreturn)) static void run(
	const char *link, const struct image_options *o, const char *dir, uint64_t most, int fd)
{
	struct err e = ERR_INIT;
	int status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	status = fetch(link, o, dir, most, &e);
	file_write(fd, e.text, strlen(e.text));
	_exit(status);
}

int boot_fetch(const char *link, const struct image_options *o, const char *dir, uint64_t most, int messages,
	uint64_t until_ms, struct err *e)
{
	_cleanup_close_ int from = -1, to = -1;
	char text[ERR_TEXT_MAX] = "";
	int fds[2], status = 0, r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, "cannot fetch what starts the image");
	from = fds[0];
	to = fds[1];
	fflush(NULL);
	pid = fork();
	if (!pid) {
		log_to(messages);
		run(link, o, dir, most, to);
	}
	if (pid < 0)
		return err_errno(e, "cannot fetch what starts the image");
	close(steal_fd(&to));
	r = feed_wait(from, until_ms, e);
	if (r == -ETIMEDOUT)
		err_set(e, r, "what starts the image was not there within the time limit");
	if (r < 0)
		kill(pid, SIGKILL);
	else
		file_read(from, text, sizeof(text) - 1);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0 || !status)
		return r;
	return err_set(e, WIFEXITED(status) && WEXITSTATUS(status) == NO_ENTRY ? -ENOENT : -EIO,
		"%s",
		*text ? text
		      : "the process that fetches what starts the image ended without a word");
}
