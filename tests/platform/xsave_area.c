/*
 * Does the host take nothing but a whole XSAVE area from PTRACE_SETREGSET of NT_X86_XSTATE? Says too whether User-Mode Linux before
 * 6.16, which keeps 2,696 bytes of it, therefore needs machine/uml_preload.c here.
 *
 * With the argument "preloaded", run under LD_PRELOAD of that object, it asks for the opposite: that a part is taken, that the
 * registers in it are set, and that those behind it stay.
 *
 * Exit status: 0 yes, 1 no, 77 not this kind of machine.
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__

int main(void)
{
	puts("not an x86-64");
	return 77;
}

#else

#define UML_AREA	2696	/* what UML before 6.16 has room for */
#define PART		832	/* x87, SSE and the header, and the upper halves of AVX registers */
#define XMM0_OFFSET	160
#define XSTATE_BV	512
#define SSE		2	/* in xstate_bv */

static uint8_t before[65536], part[PART], after[65536];

static int failed(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

static pid_t stopped_child(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		return -1;
	return child;
}

static ssize_t get(pid_t child, uint8_t *area, size_t size)
{
	struct iovec iov = { area, size };

	return ptrace(PTRACE_GETREGSET, child, NT_X86_XSTATE, &iov) < 0 ? -1 : (ssize_t)iov.iov_len;
}

/* Sets the first PART bytes with another xmm0; errno says why it could not. */
static int set_part(pid_t child)
{
	struct iovec iov = { part, sizeof(part) };

	memcpy(part, before, sizeof(part));
	memset(part + XMM0_OFFSET, 0x5a, 16);
	part[XSTATE_BV] |= SSE;
	return ptrace(PTRACE_SETREGSET, child, NT_X86_XSTATE, &iov) < 0 ? -1 : 0;
}

static int check(pid_t child, int preloaded)
{
	ssize_t size = get(child, before, sizeof(before));
	int set;

	if (size < 0)
		return failed("PTRACE_GETREGSET of NT_X86_XSTATE");
	if (size <= PART) {
		printf("the host's XSAVE area has only %zd bytes\n", size);
		return 77;
	}
	printf("the host's XSAVE area has %zd bytes: UML before 6.16 %s the preload\n", size,
	       size > UML_AREA ? "needs" : "does not need");

	set = set_part(child);
	if (!preloaded) {
		if (set == 0) {
			puts("a part of the area is taken: nobody needs the preload");
			return 1;
		}
		return errno == EFAULT ? 0 : failed("PTRACE_SETREGSET fails with another error than EFAULT");
	}
	if (set < 0)
		return failed("PTRACE_SETREGSET of a part, in spite of the preload");
	if (get(child, after, sizeof(after)) != size)
		return failed("the second PTRACE_GETREGSET");
	if (memcmp(after + XMM0_OFFSET, part + XMM0_OFFSET, 16) != 0) {
		puts("the register in the part was not set");
		return 1;
	}
	if (memcmp(after + PART, before + PART, size - PART) != 0) {
		puts("what lies behind the part has changed");
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	int preloaded = argc == 2 && strcmp(argv[1], "preloaded") == 0;
	pid_t child = stopped_child();
	int status;

	if (child < 0) {
		puts("no child can be traced here");
		return 77;
	}
	status = check(child, preloaded);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return status;
}

#endif
