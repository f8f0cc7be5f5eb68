/* The system calls that a confined process may make (seccomp, by libseccomp): what libcurl, OpenSSL, the C library's resolver, zstd and
 * libfuse need to transfer, decode, answer and keep. Three outcomes:
 *
 *	allowed		the list in syscall_filter.c, some with bounds on their arguments: sockets only for TCP, UDP and routing
 *			netlink, signals only to itself, new threads but no new processes, no memory that can be written and run
 *	the process	starting programs, tracing, mounts, changing users, kernel modules and their like: nobody tries these
 *	is killed	by mistake
 *	ENOSYS		all else: libraries try new calls, and fall back */
#ifndef BASE_SYSCALL_FILTER_H
#define BASE_SYSCALL_FILTER_H

#include "base/sandbox.h"

/* For all threads of the process; no_new_privs must be set. Of the rules it looks at network, any_port, unix_sockets and serve. 0 or -errno: -EINVAL or
 * -ENOSYS where the kernel has no seccomp filters. */
int syscall_filter_enter(const struct sandbox_rules *rules);

#endif
