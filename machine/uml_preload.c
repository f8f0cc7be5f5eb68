/*
 * LD_PRELOAD object for dynamically linked User-Mode Linux kernels before 6.16, Debian 12's and 13's among them, on CPUs
 * whose XSAVE area is larger than those kernels know.
 *
 * Such a kernel keeps its processes' floating-point registers in a buffer of fixed size (2,696 bytes) and writes it back with
 * PTRACE_SETREGSET of NT_X86_XSTATE. The host takes nothing but its whole area there, 11,008 bytes where the CPU has AMX, and
 * answers EFAULT; the guest panics at its first process ("ptrace set fp regs failed, errno = 14").
 *
 * So where the caller's buffer is shorter than the host's area, its bytes are put over a whole area that was read once, and that is
 * written. What lies behind the caller's bytes is AMX state, which the guest is then told it does not use: the header's bits for
 * it are cleared, and the host takes its initial state and ignores the bytes. (A guest program that does use AMX gets wrong
 * results; none does unasked, as Linux wants a permission first that these kernels have no system call for.)
 *
 * All other requests go to the C library unchanged. UML traces from one thread: the area has no lock.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#define XSTATE_BV_OFFSET	512	/* in the XSAVE area: which components are not in their initial state */
#define XSTATE_HEADER_END	576
#define XSTATE_AMX		(UINT64_C(3) << 17)	/* XTILECFG and XTILEDATA */
#define AREA_MAX		32768	/* far beyond any CPU's; a larger one is left alone */

typedef long ptrace_fn(int request, pid_t pid, void *address, void *data);

static uint8_t area[AREA_MAX];
static size_t area_size;	/* 0: not read yet */

static ptrace_fn *real_ptrace(void)
{
	static ptrace_fn *fn;

	if (!fn)
		*(void **)&fn = dlsym(RTLD_NEXT, "ptrace");
	return fn;
}

/* Writes the caller's bytes as the first ones of a whole area. */
static long set_xstate(pid_t pid, void *address, const struct iovec *part)
{
	struct iovec whole = { area, area_size };
	uint64_t xstate_bv;

	memcpy(area, part->iov_base, part->iov_len);
	memcpy(&xstate_bv, area + XSTATE_BV_OFFSET, sizeof(xstate_bv));
	xstate_bv &= ~XSTATE_AMX;
	memcpy(area + XSTATE_BV_OFFSET, &xstate_bv, sizeof(xstate_bv));
	return real_ptrace()(PTRACE_SETREGSET, pid, address, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	const struct iovec *part;
	void *address, *data;
	va_list arguments;
	pid_t pid;

	va_start(arguments, request);
	pid = va_arg(arguments, pid_t);
	address = va_arg(arguments, void *);
	data = va_arg(arguments, void *);
	va_end(arguments);

	part = data;
	if (request != PTRACE_SETREGSET || (uintptr_t)address != NT_X86_XSTATE || !part)
		return real_ptrace()(request, pid, address, data);

	if (!area_size) {
		struct iovec whole = { area, sizeof(area) };

		if (real_ptrace()(PTRACE_GETREGSET, pid, address, &whole) < 0)
			return -1;
		area_size = whole.iov_len;
	}
	/* A part without its header says nothing of the components; and a full buffer may hold but a part of the area. */
	if (part->iov_len >= area_size || part->iov_len < XSTATE_HEADER_END || area_size == sizeof(area))
		return real_ptrace()(request, pid, address, data);
	return set_xstate(pid, address, part);
}
