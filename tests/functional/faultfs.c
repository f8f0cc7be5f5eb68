/* A file system that fails on demand, for tests of what lies on it: a folder as it is, until a file says otherwise.
 *
 *	faultfs FOLDER CONTROL MOUNTPOINT [FUSE OPTION]...
 *
 * CONTROL holds one word, looked at before each operation: `ok`, `eio`, `estale`, `slow` (1.2 s for each open) or `hang` (nothing is answered
 * until the word is another one: whoever asks sits in the kernel, as with a disk that does not answer). */
#define FUSE_USE_VERSION 35
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int folder;
static const char *control;

static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int fault(int opening)
{
	for (;;) {
		char word[16] = "";
		int fd = open(control, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, word, sizeof(word) - 1);

		if (fd >= 0)
			close(fd);
		if (n > 0 && !strncmp(word, "hang", 4)) {
			usleep(10000);
			continue;
		}
		if (n > 0 && !strncmp(word, "eio", 3))
			return -EIO;
		if (n > 0 && !strncmp(word, "estale", 6))
			return -ESTALE;
		if (opening && n > 0 && !strncmp(word, "slow", 4))
			usleep(1200000);
		return 0;
	}
}

#define FAULT(opening)                                                                             \
	do {                                                                                       \
		int failed = fault(opening);                                                       \
		if (failed)                                                                        \
			return failed;                                                             \
	} while (0)
#define RESULT(call) ((call) < 0 ? -errno : 0)

static int on_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	FAULT(0);
	return RESULT(fstatat(folder, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int on_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t at, struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	int fd = openat(folder, below(path), O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	FAULT(0);
	if (!dir)
		return -errno;
	while ((d = readdir(dir)))
		fill(buf, d->d_name, NULL, 0, 0);
	closedir(dir);
	return 0;
}

static int on_mkdir(const char *path, mode_t mode)
{
	FAULT(0);
	return RESULT(mkdirat(folder, below(path), mode));
}

static int on_unlink(const char *path)
{
	FAULT(0);
	return RESULT(unlinkat(folder, below(path), 0));
}

static int on_rmdir(const char *path)
{
	FAULT(0);
	return RESULT(unlinkat(folder, below(path), AT_REMOVEDIR));
}

static int on_rename(const char *from, const char *to, unsigned flags)
{
	FAULT(0);
	return RESULT(renameat2(folder, below(from), folder, below(to), flags));
}

static int on_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
	FAULT(0);
	return RESULT(utimensat(folder, below(path), times, AT_SYMLINK_NOFOLLOW));
}

static int on_open(const char *path, struct fuse_file_info *fi)
{
	int fd;

	FAULT(1);
	fd = openat(folder, below(path), fi->flags & ~O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	return 0;
}

static int on_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	int fd;

	FAULT(1);
	fd = openat(folder, below(path), fi->flags, mode);
	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	return 0;
}

static int on_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	FAULT(0);
	return fi ? RESULT(ftruncate((int)fi->fh, size)) : -ENOSYS;
}

static int on_read(const char *path, char *buf, size_t len, off_t at, struct fuse_file_info *fi)
{
	ssize_t n;

	FAULT(0);
	n = pread((int)fi->fh, buf, len, at);
	return n < 0 ? -errno : (int)n;
}

static int on_write(const char *path, const char *buf, size_t len, off_t at, struct fuse_file_info *fi)
{
	ssize_t n;

	FAULT(0);
	n = pwrite((int)fi->fh, buf, len, at);
	return n < 0 ? -errno : (int)n;
}

static int on_release(const char *path, struct fuse_file_info *fi)
{
	close((int)fi->fh);
	return 0;
}

static int on_statfs(const char *path, struct statvfs *out)
{
	FAULT(0);
	return RESULT(fstatvfs(folder, out));
}

static void *on_init(struct fuse_conn_info *c, struct fuse_config *config)
{
	config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct fuse_operations operations = {
		.init = on_init,
		.getattr = on_getattr,
		.readdir = on_readdir,
		.mkdir = on_mkdir,
		.unlink = on_unlink,
		.rmdir = on_rmdir,
		.rename = on_rename,
		.utimens = on_utimens,
		.open = on_open,
		.create = on_create,
		.truncate = on_truncate,
		.read = on_read,
		.write = on_write,
		.release = on_release,
		.statfs = on_statfs,
	};

	if (argc < 4) {
		fprintf(stderr, "usage: faultfs FOLDER CONTROL MOUNTPOINT [FUSE OPTION]...\n");
		return 2;
	}
	folder = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	control = argv[2];
	if (folder < 0) {
		perror(argv[1]);
		return 1;
	}
	argv[2] = argv[0];
	return fuse_main(argc - 2, argv + 2, &operations, NULL);
}
