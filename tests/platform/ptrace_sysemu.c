/*
 * Can an ordinary user stop a child before each system call with PTRACE_SYSEMU, and have the call not happen? That is how User-Mode
 * Linux runs its guest's programs (where seccomp=on was not asked for).
 *
 * Exit status: 0 yes, 1 no, 77 not this kind of machine.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__

int main(void)
{
	puts("not an x86-64");
	return 77;
}

#else

#define MARK 4711

static int child_main(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		return 2;
	raise(SIGSTOP);
	/* Emulated: the tracer gives the answer, and the kernel does not see the call. */
	return syscall(SYS_getppid) == MARK ? 0 : 1;
}

static int failed(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

static int trace(pid_t child)
{
	struct user_regs_struct registers;
	int status;

	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		return failed("a child cannot be traced");
	if (ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL) < 0)
		return failed("PTRACE_O_EXITKILL");
	do {
		if (ptrace(PTRACE_SYSEMU, child, NULL, NULL) < 0)
			return failed("PTRACE_SYSEMU");
		if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
			return failed("the child did not stop at a system call");
		if (ptrace(PTRACE_GETREGS, child, NULL, &registers) < 0)
			return failed("PTRACE_GETREGS");
		/* raise() has a signal mask to restore first: it may believe so. */
		if (registers.orig_rax == SYS_getppid)
			break;
		registers.rax = 0;
		if (ptrace(PTRACE_SETREGS, child, NULL, &registers) < 0)
			return failed("PTRACE_SETREGS");
	} while (1);
	registers.rax = MARK;
	if (ptrace(PTRACE_SETREGS, child, NULL, &registers) < 0)
		return failed("PTRACE_SETREGS");
	if (ptrace(PTRACE_CONT, child, NULL, NULL) < 0)
		return failed("PTRACE_CONT");
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		puts("the child did not see the answer given in place of the system call");
		return 1;
	}
	puts("system calls can be emulated");
	return 0;
}

int main(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(child_main());
	if (child < 0)
		return failed("fork");
	return trace(child);
}

#endif
