/* inetboot kexec: another kernel in place of this one. By kexec_file_load(2), which checks the kernel's signature where that is asked for; where
 * the running kernel has not that call, or does not take the file, by the older one, for which the program kexec does what the kernel would. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kexec.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"

static const char help[] =
	"Usage: inetboot kexec [OPTION]... KERNEL\n\n"
	"Starts a kernel in place of the one that runs: at once, without ending any program before.\n\n"
	"  --initrd FILE        its initial RAM disk\n"
	"  --append TEXT        its command line\n"
	"  --module TEXT        KERNEL is started as multiboot has it (Xen), with this module: a file, and behind a blank its words; may be repeated\n"
	"  --load               only load it; `reboot -f` does not start it then, but the program kexec with -e does\n"
	"  --help               this text\n";

extern char **environ;

static int open_file(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_errno(e, "cannot open %s", path) : fd;
}

static int load_by_kernel(const char *kernel_path, const char *initrd_path, const char *append, struct err *e)
{
	_cleanup_close_ int kernel = open_file(kernel_path, e);
	_cleanup_close_ int initrd = kernel < 0 || !initrd_path ? -1 : open_file(initrd_path, e);

	if (kernel < 0 || (initrd_path && initrd < 0))
		return -EIO;
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(append) + 1, append, initrd_path ? 0UL : (unsigned long)KEXEC_FILE_NO_INITRAMFS) < 0)
		return err_errno(e, "kexec_file_load of %s", kernel_path);
	return 0;
}

#define MODULES_MAX 32

struct words {
	const char *initrd; /* or NULL */
	const char *append;
	char *modules[MODULES_MAX]; /* options of the program kexec; owned */
	size_t module_count;
};

static int load_by_program(const char *kernel, const struct words *w, struct err *e)
{
	_cleanup_free_ char *line = file_path("--command-line=%s", w->append), *disk = file_path("--initrd=%s", w->initrd ? w->initrd : "");
	char *argv[MODULES_MAX + 7] = {"kexec", "--kexec-syscall", "--load", (char *)kernel, line};
	int status, r, n = 5;
	pid_t pid;

	if (!line || !disk)
		return err_set(e, -ENOMEM, "no memory for a command line");
	for (size_t i = 0; i < w->module_count; i++)
		argv[n++] = w->modules[i];
	if (w->initrd)
		argv[n] = disk;
	r = posix_spawnp(&pid, "kexec", NULL, NULL, argv, environ);
	if (r)
		return err_set(e, -r, "cannot start the program kexec: %s", strerror(r));
	if (waitpid(pid, &status, 0) < 0)
		return err_errno(e, "cannot wait for the program kexec");
	return status ? err_set(e, -EIO, "the program kexec failed") : 0;
}

static int load(const char *kernel, const struct words *w, struct err *e)
{
	struct err why = ERR_INIT;

	if (w->module_count)
		return load_by_program(kernel, w, e);
	if (!load_by_kernel(kernel, w->initrd, w->append, &why))
		return 0;
	if (why.code != -EKEYREJECTED && why.code != -EPERM && !load_by_program(kernel, w, e))
		return 0;
	err_add(&why, "the running kernel does not start another one");
	*e = why;
	return e->code;
}

static int take_option(void *context, int code, char *value)
{
	struct words *w = context;

	if (code != 'm') {
		*(code == 'i' ? &w->initrd : &w->append) = value;
		return 0;
	}
	if (w->module_count == MODULES_MAX)
		return cli_usage("kexec", "more than %d modules, at %s", MODULES_MAX, value);
	w->modules[w->module_count] = file_path("--module=%s", value);
	return w->modules[w->module_count++] ? 0 : cli_usage("kexec", "no memory for %s", value);
}

int cmd_kexec(int argc, char **argv)
{
	static int only_load;
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"initrd", required_argument, NULL, 'i'},
		{"append", required_argument, NULL, 'a'},
		{"module", required_argument, NULL, 'm'},
		{"load", no_argument, &only_load, 1},
		{0},
	};
	struct words words = {.append = ""};
	struct err e = ERR_INIT;
	int r;

	r = cli_options(argc, argv, "h", options, help, take_option, &words);
	if (r >= 0)
		return r;
	if (argc - optind != 1)
		return cli_usage("kexec", "exactly one kernel is needed");
	r = load(argv[optind], &words, &e);
	while (words.module_count)
		free(words.modules[--words.module_count]);
	if (r < 0)
		return cli_fail(&e);
	if (only_load)
		return EXIT_OK;
	sync();
	reboot(RB_KEXEC);
	err_errno(&e, "the kernel that was loaded does not start");
	return cli_fail(&e);
}
