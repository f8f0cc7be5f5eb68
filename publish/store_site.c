/* From a path to a file: see store_site.h. Paths are opened with openat2(RESOLVE_BENEATH |
 * RESOLVE_NO_SYMLINKS): the kernel, not text comparison, keeps them below the store. Where the
 * kernel lacks that call (before 5.6), O_NOFOLLOW at each component does the same. */
#include "publish/store_site.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

static int open_by_components(int dirfd, const char *path)
{
	_cleanup_close_ int at = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *slash;
	char part[SERVER_PATH_MAX + 1];

	while (at >= 0 && (slash = strchr(path, '/'))) {
		int next;

		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(at);
		at = next;
		path = slash + 1;
	}
	return at < 0 ? -1 : openat(at, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static int open_below(int dirfd, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 && (errno == ENOSYS || errno == EPERM) ? open_by_components(dirfd, path) : fd;
}

/* A file that is there but cannot be opened now must not look missing: readers give up on those. */
static void refuse(int error, struct content *out)
{
	switch (error) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EAGAIN:
	case EIO:
		content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE, "The file cannot be opened now.\n");
		out->retry_after_s = 1;
		return;
	case EACCES:
		content_error(out, MHD_HTTP_FORBIDDEN, "The server may not read this file.\n");
		return;
	default:
		content_error(out, MHD_HTTP_NOT_FOUND, "There is no such file in this store.\n");
	}
}

static bool find(void *context, const char *path, struct content *out, void **ticket)
{
	const struct store *s = context;
	_cleanup_close_ int fd = open_below(s->fd, path + 1);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		refuse(errno, out);
	} else if (!S_ISREG(st.st_mode)) {
		refuse(ENOENT, out);
	} else {
		out->size = (uint64_t)st.st_size;
		/* Strong: a file here is only ever replaced as a whole, by another inode. */
		snprintf(out->etag, sizeof(out->etag), "\"%llx-%llx-%llx\"", (unsigned long long)st.st_ino,
			(unsigned long long)st.st_size,
			(unsigned long long)st.st_mtim.tv_sec * 1000000000ULL + (unsigned long long)st.st_mtim.tv_nsec);
		out->fd = steal_fd(&fd);
	}
	return true;
}

struct site store_site(const struct store *s)
{
	return (struct site){.context = (void *)s, .find = find};
}
