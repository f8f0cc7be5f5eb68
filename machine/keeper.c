/* Holding a guest: see keeper.h. */
#include "machine/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#define ORPHANS_MAX 100000 /* a guest's programs are processes here, in User-Mode Linux */

/* Threads that take turns do so at half the cost on one CPU. `number` differs from machine to
 * machine, so that they are on different CPUs. */
static void pin_to_one_cpu(pid_t number)
{
	cpu_set_t may, one;
	int count, pick;

	if (sched_getaffinity(0, sizeof(may), &may) < 0 || (count = CPU_COUNT(&may)) < 2)
		return;
	pick = (int)((unsigned)number % (unsigned)count);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &may) && !pick--) {
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof(one), &one);
			return;
		}
}

__attribute__((noreturn)) static void exec_guest(const struct keeper *k, pid_t number)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	if (k->one_cpu)
		pin_to_one_cpu(number);
	execve(k->argv[0], k->argv, k->env);
	dprintf(STDERR_FILENO, "inetboot: FAILED: cannot start %s: %s\n", k->argv[0],
		strerror(errno));
	_exit(127);
}

/* The guest gets its console, its files, and no other file of ours, or of whoever started us. */
static void keep_only_its_own(const struct keeper *k)
{
	int above[KEEPER_FDS_MAX], last = KEEPER_FIRST_FD + (int)k->fd_count;

	dup2(k->terminal, STDIN_FILENO);
	dup2(k->terminal, STDOUT_FILENO);
	dup2(k->terminal, STDERR_FILENO);
	for (size_t i = 0; i < k->fd_count; i++)
		above[i] = fcntl(
			k->fds[i], F_DUPFD, last); /* any of them may have the number of another */
	for (size_t i = 0; i < k->fd_count; i++)
		dup2(above[i], KEEPER_FIRST_FD + (int)i);
	close_range((unsigned)last, ~0U, 0);
}

static volatile sig_atomic_t kept; /* the guest, for the keeper */

static void pass_on(int number)
{
	int before = errno;

	if (kept > 0)
		kill(kept, number);
	errno = before;
}

__attribute__((noreturn)) static void run(const struct keeper *k, pid_t number)
{
	pid_t guest, ended;
	int status = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "inetboot-guest");
	keep_only_its_own(k);
	guest = fork();
	if (!guest)
		exec_guest(k, number);
	kept = guest;
	signal(SIGIO, pass_on);
	do
		ended = waitpid(-1, &status, 0);
	while (ended != guest && (ended > 0 || errno == EINTR));
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

int keeper_start(const struct keeper *k, pid_t *pid, struct err *e)
{
	pid_t own = getpid(); /* as the host counts: in a namespace of their own all keepers are
				 number 1 */

	/* Best effort: see keeper.h. */
	if (unshare(CLONE_NEWPID) < 0)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	fflush(NULL);
	signal(SIGIO, SIG_IGN); /* as it is in the guest, until that wants it */
	*pid = fork();
	if (!*pid)
		run(k, own);
	signal(SIGIO, SIG_DFL);
	return *pid < 0 ? err_errno(e, "cannot start the guest") : 0;
}

int keeper_wait(pid_t pid)
{
	int status;
	pid_t ended = waitpid(pid, &status, WNOHANG);

	if (ended != pid)
		return ended < 0 && errno != EINTR ? -errno : -EAGAIN;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static pid_t first_child(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/thread-self/children", "re");
	int pid;

	return f && fscanf(f, "%d", &pid) == 1 ? pid : 0;
}

void keeper_end_orphans(void)
{
	pid_t pid;

	for (unsigned i = 0; i < ORPHANS_MAX && (pid = first_child()) > 0; i++) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}
