/* Starting User-Mode Linux: see uml.h. */
#include "machine/uml.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/program.h"
#include "machine/display_link.h"
#include "machine/resources.h"

#define MODULES_DIR "/usr/lib/uml/modules"
#define ORPHANS_MAX 100000 /* a guest's programs are processes here */
#define UML_DISK_FD 3	   /* as UML_DISK_PATH says */
#define ARGUMENTS_MAX 128 /* of a guest's kernel; a longer command line is refused */

static char *find_built(void)
{
	_cleanup_free_ char *dir = file_xdg_dir("XDG_CACHE_HOME", ".cache", NULL);
	char *path = dir ? file_path("%s/uml/linux", dir) : NULL;

	if (path && access(path, X_OK) < 0) {
		free(path);
		path = NULL;
	}
	return path;
}

/* What `kernel --version` prints, or NULL: a file that is no UML kernel. */
static char *ask_version(const char *kernel)
{
	char line[128] = "";
	int fds[2], status;
	pid_t pid;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	pid = fork();
	if (!pid) {
		dup2(fds[1], STDOUT_FILENO);
		alarm(10); /* a program that is no such kernel may do anything */
		execl(kernel, kernel, "--version", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	n = pid > 0 ? file_read(fds[0], line, sizeof(line) - 1) : -1;
	close(fds[0]);
	if (pid <= 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) || n <= 0)
		return NULL;
	line[strcspn(line, " \n")] = 0;
	return line[0] >= '2' && line[0] <= '9' ? strdup(line) : NULL;
}

int uml_kernel_find(struct uml_kernel *k, const char *wanted, struct err *e)
{
	_cleanup_free_ char *version = NULL;

	*k = (struct uml_kernel){.path = wanted ? strdup(wanted) : find_built()};
	if (!k->path && !wanted)
		k->path = program_path("linux.uml");
	if (!k->path)
		return err_set(e, -ENOENT,
			"there is no User-Mode Linux kernel here: install the package user-mode-linux, run `make uml-kernel`, or name one "
			"with --kernel");
	version = ask_version(k->path);
	if (!version) {
		err_set(e, -ENOEXEC, "%s is no User-Mode Linux kernel that runs here (`%s --version` must print its version): name another one with --kernel", k->path, k->path);
		uml_kernel_free(k);
		return -ENOEXEC;
	}
	k->modules = file_path(MODULES_DIR "/%s", version);
	if (k->modules && access(k->modules, R_OK) < 0) {
		free(k->modules);
		k->modules = NULL;
	}
	k->preload = resource_path("uml_preload.so", NULL);
	return 0;
}

void uml_kernel_free(struct uml_kernel *k)
{
	free(k->path);
	free(k->modules);
	free(k->preload);
	*k = (struct uml_kernel){0};
}

/* An argument vector that is filled word by word. */
struct arguments {
	char *words[ARGUMENTS_MAX + 1];
	int count;
	bool full;
};

static void add(struct arguments *a, char *word)
{
	if (word && a->count < ARGUMENTS_MAX) {
		a->words[a->count++] = word;
		return;
	}
	free(word);
	a->full = true;
}

static void free_arguments(struct arguments *a)
{
	for (int i = 0; i < a->count; i++)
		free(a->words[i]);
}

static void add_words(struct arguments *a, const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	char *next = copy;

	for (char *word; copy && (word = strsep(&next, " \t\n"));)
		if (*word)
			add(a, strdup(word));
}

static void build_arguments(struct arguments *a, const struct uml_machine *m)
{
	add(a, strdup(m->kernel->path));
	add(a, file_path("mem=%lluM", (unsigned long long)(m->memory >> 20)));
	add(a, file_path("uml_dir=%s/", m->dir));
	add(a, strdup("umid=guest"));
	/* The second console is the one on which images have their login prompt. */
	add(a, strdup("con=null"));
	add(a, strdup("con0=null"));
	add(a, strdup("con1=fd:0,fd:1"));
	add(a, strdup("console=tty1"));
	add(a, strdup("panic=1"));
	add(a, strdup("noreboot"));
	add(a, file_path("initrd=%s", m->initrd));
	if (m->overlay) {
		add(a, file_path("ubd0=%s,%s", m->overlay, m->disk));
		add(a, strdup("inetboot.rw"));
	} else {
		/* r: read-only; d: it is data, also where it looks like a copy-on-write file, which could name any file of this host. */
		add(a, file_path("ubd0rd=%s", m->disk));
	}
	if (m->writes) {
		add(a, file_path("ubd1d=%s", m->writes));
		add(a, strdup("inetboot.writes=/dev/ubdb"));
	}
	if (m->network) {
		/* A connection that is open already (transport=fd) is twice as fast, but gone for good when the guest switches vec0 off. */
		add(a, file_path("vec0:transport=bess,dst=%s%s%s", m->network, m->mac ? ",mac=" : "", m->mac ? m->mac : ""));
		add(a, file_path("inetboot.name=%s", m->name));
	}
	if (m->display) {
		add(a, file_path("vec1:transport=bess,dst=%s", m->display));
		add(a, strdup("inetboot.display=" DISPLAY_LINK_GUEST "," DISPLAY_LINK_HOST ":0"));
		add(a, strdup("systemd.mask=display-manager.service")); /* there is no screen for it */
	}
	if (m->trusted)
		add(a, strdup("seccomp=on"));
	add_words(a, m->cmdline);
}

/* A temporary folder from which memory may be mapped executable: UML keeps the guest's memory in a file there. */
static const char *memory_dir(void)
{
	const char *own = getenv("TMPDIR");

	return own && *own ? own : "/dev/shm";
}

static char **build_environment(const struct uml_kernel *k)
{
	char **env = calloc(6, sizeof(*env));
	int n = 0;

	if (!env)
		return NULL;
	env[n++] = file_path("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/uml");
	env[n++] = file_path("HOME=%s", getenv("HOME") ? getenv("HOME") : "/");
	env[n++] = file_path("TERM=linux");
	env[n++] = file_path("TMPDIR=%s", memory_dir());
	if (k->preload)
		env[n++] = file_path("LD_PRELOAD=%s", k->preload);
	return env;
}

/* UML has one virtual CPU, and its helper threads take turns: on one CPU they do so at half the cost. `number` differs from machine to
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

__attribute__((noreturn)) static void exec_guest(pid_t number, char **argv, char **env)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	pin_to_one_cpu(number);
	execve(argv[0], argv, env);
	dprintf(STDERR_FILENO, "inetboot: FAILED: cannot start %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* The guest gets its console, a disk that is a descriptor, and no other file of ours, or of whoever started us. */
static void keep_only_its_own(int terminal, int disk)
{
	dup2(terminal, STDIN_FILENO);
	dup2(terminal, STDOUT_FILENO);
	dup2(terminal, STDERR_FILENO);
	if (disk >= 0 && disk != UML_DISK_FD)
		dup2(disk, UML_DISK_FD);
	else if (disk >= 0)
		fcntl(disk, F_SETFD, 0);
	close_range(UML_DISK_FD + (disk >= 0), ~0U, 0);
}

/* The first process of the guest's namespace: when it ends, by itself or killed, the kernel ends all others in there, also those that a
 * panicked UML leaves behind. Where there is no namespace, the guest ends by its parent-death signal, and uml_end_orphans() ends the
 * rest. */
static volatile sig_atomic_t kept; /* the guest, for the keeper */

static void pass_on(int number)
{
	int before = errno;

	if (kept > 0)
		kill(kept, number);
	errno = before;
}

__attribute__((noreturn)) static void run_keeper(const struct uml_machine *m, pid_t number, char **argv, char **env)
{
	pid_t guest, ended;
	int status = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "inetboot-guest");
	keep_only_its_own(m->terminal, m->disk_fd);
	guest = fork();
	if (!guest)
		exec_guest(number, argv, env);
	kept = guest;
	signal(SIGIO, pass_on);
	do
		ended = waitpid(-1, &status, 0);
	while (ended != guest && (ended > 0 || errno == EINTR));
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

int uml_start(const struct uml_machine *m, pid_t *pid, struct err *e)
{
	struct arguments a = {0};
	char **env = build_environment(m->kernel);
	pid_t own = getpid(); /* as the host counts: in a namespace of their own all keepers are number 1 */
	int r = 0;

	build_arguments(&a, m);
	if (a.full || !env)
		r = err_set(e, -E2BIG, "the kernel's command line has more than %d words", ARGUMENTS_MAX);
	/* Best effort: see run_keeper(). */
	if (!r && unshare(CLONE_NEWPID) < 0)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!r) {
		fflush(NULL);
		signal(SIGIO, SIG_IGN); /* as it is in the guest, until that wants it */
		*pid = fork();
		if (!*pid)
			run_keeper(m, own, a.words, env);
		signal(SIGIO, SIG_DFL);
		if (*pid < 0)
			r = err_errno(e, "cannot start the guest");
	}
	for (char **word = env; word && *word; word++)
		free(*word);
	free(env);
	free_arguments(&a);
	return r;
}

void uml_look(pid_t pid)
{
	kill(pid, SIGIO);
}

int uml_wait(pid_t pid)
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

void uml_end_orphans(void)
{
	pid_t pid;

	for (unsigned i = 0; i < ORPHANS_MAX && (pid = first_child()) > 0; i++) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}
