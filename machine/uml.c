/* User-Mode Linux: which kernel, with what arguments and environment. (Facts: the kernel's Documentation/virt/uml.) No path of our own in its arguments
 * holds white space, ',' or ':'. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/program.h"
#include "machine/arguments.h"
#include "machine/cmdline.h"
#include "machine/cow.h"
#include "machine/display_link.h"
#include "machine/engine.h"
#include "machine/feed.h"
#include "machine/initramfs.h"
#include "machine/mconsole.h"
#include "machine/resources.h"
#include "machine/watch.h"

#define MODULES_DIR "/usr/lib/uml/modules"
#define MCONSOLE_MS 3000 /* for the answer to one command */

struct kernel {
	char *path;    /* owned */
	char *modules; /* folder of its modules, or NULL; owned */
	char *preload; /* object to put into LD_PRELOAD, or NULL; owned */
};

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

/* A kernel: the one that was named; else the one that `make uml-kernel` made; else linux.uml of the package user-mode-linux. Asks it for its version, for
 * its modules. */
static int find(struct guest *g, struct err *e)
{
	const char *wanted = g->o->kernel;
	_cleanup_free_ char *version = NULL;
	struct kernel *k = g->own = calloc(1, sizeof(*k));

	if (!k)
		return err_set(e, -ENOMEM, "no memory");
	k->path = wanted ? strdup(wanted) : find_built();
	if (!k->path && !wanted)
		k->path = program_path("linux.uml");
	if (!k->path)
		return err_set(e, -ENOENT,
			"there is no User-Mode Linux kernel here: install the package user-mode-linux, run `make uml-kernel`, or name one "
			"with --kernel");
	version = ask_version(k->path);
	if (!version)
		return err_set(e, -ENOEXEC, "%s is no User-Mode Linux kernel that runs here (`%s --version` must print its version): name another one with --kernel",
			k->path, k->path);
	k->modules = file_path(MODULES_DIR "/%s", version);
	if (k->modules && access(k->modules, R_OK) < 0) {
		free(k->modules);
		k->modules = NULL;
	}
	k->preload = resource_path("uml_preload.so", NULL);
	return 0;
}

/* From here on the kernel's preload object has a name that the loader takes. */
static int rename_preload(const struct guest *g, struct err *e)
{
	struct kernel *k = g->own;
	char *own;

	if (!k->preload)
		return 0;
	own = guest_own_name(g, k->preload, "preload.so", e);
	free(k->preload);
	k->preload = own;
	return own ? 0 : -EIO;
}

static int prepare(struct guest *g, struct err *e)
{
	const struct kernel *k = g->own;
	_cleanup_free_ char *initrd = file_path("%s/initramfs", g->dir);
	int r = initrd ? rename_preload(g, e) : err_set(e, -ENOMEM, "no memory");

	if (!r)
		r = initramfs_write(initrd, k->modules, g->authority, e);
	return r < 0 || !g->overlay ? r : cow_prepare(g->o->overlay, g->disk_here, g->feed->image.version ? &g->feed->image : NULL, e);
}

/* Words that a publisher asks for, as far as they cannot reach into this host. */
static int add_image_words(struct arguments *a, const char *words, struct err *e)
{
	_cleanup_buf_ struct buf kept = BUF_INIT(65536), refused = BUF_INIT(65536);
	int r = cmdline_filter(words, &kept, &refused);

	if (r < 0)
		return err_set(e, r, "the kernel's command line is too long");
	if (refused.len)
		log_warning("words of the image's command line that could reach into this host are left out: %s", (char *)refused.data);
	if (kept.len)
		arguments_split(a, (char *)kept.data);
	return 0;
}

static int build_arguments(struct arguments *a, const struct guest *g, struct err *e)
{
	const struct kernel *k = g->own;
	int r = 0;

	arguments_add(a, k->path);
	arguments_printf(a, "mem=%lluM", (unsigned long long)(g->o->memory >> 20));
	arguments_printf(a, "uml_dir=%s/", g->dir);
	arguments_add(a, "umid=guest");
	/* The second console is the one on which images have their login prompt. */
	arguments_add(a, "con=null");
	arguments_add(a, "con0=null");
	arguments_add(a, "con1=fd:0,fd:1");
	arguments_add(a, "console=tty1");
	arguments_add(a, "panic=1");
	arguments_add(a, "noreboot");
	arguments_printf(a, "initrd=%s/initramfs", g->dir);
	if (g->overlay) {
		arguments_printf(a, "ubd0=%s,%s", g->overlay, g->disk);
		arguments_add(a, "inetboot.rw");
	} else {
		/* r: read-only; d: it is data, also where it looks like a copy-on-write file, which could name any file of this host. */
		arguments_printf(a, "ubd0rd=%s", g->disk);
	}
	if (g->writes) {
		arguments_printf(a, "ubd1d=%s", g->writes);
		arguments_add(a, "inetboot.writes=/dev/ubdb");
	}
	if (g->network) {
		/* A connection that is open already (transport=fd) is twice as fast, but gone for good when the guest switches vec0 off. */
		arguments_printf(a, "vec0:transport=bess,dst=%s%s%s", g->network, g->o->mac ? ",mac=" : "", g->o->mac ? g->o->mac : "");
		arguments_printf(a, "inetboot.name=%s", g->o->name);
	}
	if (g->display) {
		arguments_printf(a, "vec1:transport=bess,dst=%s", g->display);
		arguments_add(a, "inetboot.display=" DISPLAY_LINK_GUEST "," DISPLAY_LINK_HOST ":0");
		arguments_add(a, "systemd.mask=display-manager.service"); /* there is no screen for it */
	}
	if (g->o->trusted)
		arguments_add(a, "seccomp=on");
	if (g->feed->cmdline)
		r = add_image_words(a, g->feed->cmdline, e);
	if (g->o->append)
		arguments_split(a, g->o->append);
	if (!r && a->full)
		r = err_set(e, -E2BIG, "the kernel's command line has more than %d words", ARGUMENTS_MAX);
	return r;
}

/* A temporary folder from which memory may be mapped executable: UML keeps the guest's memory in a file there. */
static const char *memory_dir(void)
{
	const char *own = getenv("TMPDIR");

	return own && *own ? own : "/dev/shm";
}

static char **build_environment(const struct kernel *k)
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

static int start(struct guest *g, pid_t *pid, struct err *e)
{
	struct arguments a = {0};
	char **env = build_environment(g->own);
	/* UML has one virtual CPU, and its helper threads take turns. */
	struct keeper k = {.argv = a.words, .env = env, .terminal = g->terminal, .fds = {g->disk_fd}, .fd_count = g->disk_fd >= 0, .one_cpu = true};
	int r = build_arguments(&a, g, e);

	if (!r)
		r = env ? keeper_start(&k, pid, e) : err_set(e, -ENOMEM, "no memory");
	for (char **word = env; word && *word; word++)
		free(*word);
	free(env);
	arguments_free(&a);
	return r;
}

static int ask(struct guest *g, struct err *e)
{
	_cleanup_free_ char *socket = file_path("%s/guest/mconsole", g->dir);

	return socket ? mconsole_command(socket, "cad", MCONSOLE_MS, e) : err_set(e, -ENOMEM, "no memory");
}

/* Has it look at all its files. User-Mode Linux is told by SIGIO that a terminal which was full can be written again, and Linux loses that signal
 * where the room is made while the write that finds none is under way: the guest would be silent until somebody types. Not before the guest's kernel
 * has said something: until it is ready for interrupts, one more can hang it. */
static void look(pid_t pid)
{
	kill(pid, SIGIO);
}

static enum machine_end judge(int status, const struct watch *w, struct err *e)
{
	if (status == 128 + SIGABRT) {
		err_set(e, -EIO, "the guest's kernel panicked%s%s", w->reason[0] ? ": " : "", w->reason);
		return MACHINE_PANIC;
	}
	if (!status)
		return MACHINE_CLEAN;
	if (!w->kernel_ms) {
		err_set(e, -EIO, "User-Mode Linux did not start (status %d); the last that it said: %s", status, w->last[0] ? w->last : "nothing");
		return MACHINE_NOT_STARTED;
	}
	err_set(e, -EIO, "User-Mode Linux ended with status %d", status);
	return MACHINE_KILLED;
}

static void release(struct guest *g)
{
	struct kernel *k = g->own;

	if (!k)
		return;
	free(k->path);
	free(k->modules);
	free(k->preload);
	free(k);
	g->own = NULL;
}

static int check(const struct machine_options *o, struct err *e)
{
	if (o->medium || o->whole_disk || o->uefi)
		return err_set(e, -EINVAL, "--medium, --disk and --firmware are for machines that start as real ones do: --engine qemu");
	return 0;
}

const struct engine engine_uml = {
	.name = "uml",
	.memory = 512ULL << 20,
	.check = check,
	.find = find,
	.prepare = prepare,
	.start = start,
	.ask = ask,
	.look = look,
	.judge = judge,
	.release = release,
};
