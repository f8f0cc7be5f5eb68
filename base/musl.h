/* What the GNU C library has and musl has not: put before every file of a small build by meson.build. System calls, with their usual names. */
#ifndef BASE_MUSL_H
#define BASE_MUSL_H

#include <limits.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int close_range(unsigned first, unsigned last, int flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}

static inline void closefrom(int first)
{
	close_range((unsigned)first, UINT_MAX, 0);
}

static inline int renameat2(int from_dirfd, const char *from, int to_dirfd, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, from_dirfd, from, to_dirfd, to, flags);
}

static inline int execveat(int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
	return (int)syscall(SYS_execveat, dirfd, path, argv, envp, flags);
}

#endif
