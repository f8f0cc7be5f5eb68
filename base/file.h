/* Files: whole reads and writes, atomic replacement. EINTR is handled; short transfers are completed. Any thread. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Reads len bytes at offset. -EIO when the file ends before. */
int file_pread(int fd, void *buf, size_t len, uint64_t offset);
/* Reads up to len bytes from a stream; returns the number of bytes (less than len only at its end), or -errno. */
ssize_t file_read(int fd, void *buf, size_t len);
int file_write(int fd, const void *data, size_t len);
int file_pwrite(int fd, const void *data, size_t len, uint64_t offset);

/* Appends a whole file to out (whose cap bounds it). path is relative to dirfd (AT_FDCWD as in openat). */
int file_load(int dirfd, const char *path, struct buf *out, struct err *e);
/* The same where others may have put something else there: a symbolic link, or what would block who opens it, is -EBADMSG. */
int file_load_plain(int dirfd, const char *path, struct buf *out, struct err *e);

enum file_save_flags {
	FILE_SYNC = 1,	    /* the data and the name are on the disk when the call returns */
	FILE_EXCLUSIVE = 2, /* -EEXIST if the name is taken */
	FILE_PRIVATE = 4,   /* mode 0600 instead of 0644 */
};
/* Writes a temporary file in path's folder and renames (or, with FILE_EXCLUSIVE, links) it to path: others see the old
 * content or the new one, never a part. The folder must exist. After an error with FILE_EXCLUSIVE there is no file. With others it may be
 * the new one, where the last step failed: FILE_SYNC's look after its name. */
int file_save(int dirfd, const char *path, const void *data, size_t len, unsigned flags, struct err *e);

/* Is it the name of such a temporary file? One is left where its writer was killed. */
bool file_is_temporary(const char *name);

/* A lock's file, made (mode 0600) where it is not there, and held as flock(2) says; a symbolic link is refused. A descriptor, or -errno. */
int file_lock(const char *path, int how);

/* mkdir -p, mode 0777 less the umask. Existing folders are fine; -ENOTDIR where a part of path is something else. */
int file_mkdirs(const char *path, struct err *e);

/* The base folder of the XDG specification: $variable/inetboot, or $HOME/fallback/inetboot. Allocated; NULL and e set
 * where neither variable is set. */
char *file_xdg_dir(const char *variable, const char *fallback, struct err *e);

/* The path, from the root on, whether it is there or not. Allocated; NULL: no memory, or no current folder. */
char *file_absolute(const char *path);

/* asprintf() that returns the string, or NULL. */
char *file_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Is every byte zero? */
bool file_all_zero(const void *data, size_t len);

#endif
