/* The program: finds the command and hands over. Options before the command are for all of them. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/heap.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
#ifndef INETBOOT_SMALL
	{"boot", cmd_boot, "start an image in a User-Mode Linux machine"},
	{"ps", cmd_ps, "list the machines that have a name"},
	{"console", cmd_console, "be at a running machine's console"},
	{"stop", cmd_stop, "shut machines down"},
	{"kill", cmd_kill, "end machines at once"},
	{"rebase", cmd_rebase, "take a machine to another version of its image"},
	{"rm", cmd_rm, "remove machines, with all that they wrote"},
#endif
	{"info", cmd_info, "show what an image is"},
	{"ls", cmd_ls, "list the images of a store"},
	{"mount", cmd_mount, "show an image's virtual disk as a file"},
	{"status", cmd_status, "show what the images that are mounted here do, and how their mirrors are"},
	{"fetch", cmd_fetch, "fetch what starts an image: its kernel and initrd"},
	{"get", cmd_get, "fetch a signed file, and check it"},
	{"guests", cmd_guests, "start further images as guests of a system that a boot medium started"},
	{"pull", cmd_pull, "fetch a whole image into the cache, for use offline"},
#ifdef INETBOOT_SMALL
	{"kexec", cmd_kexec, "start another kernel in place of this one"},
	{"unzstd", cmd_unzstd, "decompress a zstd stream"},
#else
	{"nbd", cmd_nbd, "serve an image's virtual disk by NBD, for qemu and others"},
	{"mirrors", cmd_mirrors, "measure the servers that an image comes from"},
	{"verify", cmd_verify, "check every block of an image or of a store"},
	{"key", cmd_key, "make a key pair for publishing"},
	{"publish", cmd_publish, "put a disk image into a store"},
	{"make", cmd_make, "make a bootable image of Debian: minimal, server or desktop"},
	{"medium", cmd_medium, "make a CD, stick or network image that boots images on any machine"},
	{"install", cmd_install, "put a boot medium on a disk, with a cache and what systems write"},
	{"commit", cmd_commit, "publish what a guest wrote as the next version"},
	{"diff", cmd_diff, "show what differs between two versions"},
	{"profile", cmd_profile, "make a boot pack of recorded boots"},
	{"serve", cmd_serve, "hand out a store by HTTP, for trying things out"},
	{"switch", cmd_switch, "be the Ethernet switch of a network of machines"},
	{"join", cmd_join, "run a program, such as qemu, as a guest of a network of machines"},
	{"gc", cmd_gc, "remove blocks from a store that no image needs"},
#endif
};

static const size_t command_count = sizeof(commands) / sizeof(commands[0]);

static void print_help(FILE *f)
{
	fprintf(f, "Usage: inetboot [--quiet | --verbose] [--log json] COMMAND [ARGUMENTS]\n\n"
		   "Boots any operating system from any web server.\n\nCommands:\n");
	for (size_t i = 0; i < command_count; i++)
		fprintf(f, "  %-8s  %s\n", commands[i].name, commands[i].what);
	fprintf(f, "\n`inetboot help COMMAND` tells more, `inetboot --version` which one this is. A LINK is http://HOST/PATH/NAME#KEY, or a path.\n");
}

int cli_fail(const struct err *e)
{
	log_error("%s", e->text[0] ? e->text : "failed without a message: most likely there is no memory left");
	return EXIT_FAILED;
}

int cli_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "inetboot %s: ", command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry `inetboot %s --help`.\n", command);
	return EXIT_USAGE;
}

int cli_options(int argc, char **argv, const char *letters, const struct option *options, const char *help, cli_take take, void *context)
{
	const char *command = argv[0];
	int code, status;

	while ((code = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		if (code == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (code == '?')
			return cli_bad_option(command, argv);
		status = code ? take(context, code, optarg) : 0;
		if (status)
			return status;
	}
	return -1;
}

int cli_flags(int argc, char **argv, const struct option *options, const char *help)
{
	return cli_options(argc, argv, "h", options, help, NULL, NULL);
}

int cli_seconds(const char *command, const char *option, const char *value, unsigned *out)
{
	uint64_t number;

	if (text_to_u64(value, &number) < 0 || !number || number > UINT_MAX / 1000)
		return cli_usage(command, "--%s takes a number of seconds, not '%s'", option, value);
	*out = (unsigned)number;
	return 0;
}

bool cli_is_url(const char *text)
{
	return text_starts(text, "http://") || text_starts(text, "https://");
}

int cli_base_url(const char *command, char *value, const char **out)
{
	for (size_t len = strlen(value); len > 8 && value[len - 1] == '/';)
		value[--len] = 0;
	*out = value;
	return cli_is_url(value) ? 0 : cli_usage(command, "--base-url %s: no http or https URL", value);
}

int cli_bad_option(const char *command, char **argv)
{
	return cli_usage(command, "unknown option, or one without its value: %s", argv[optind - 1]);
}

/* A file that is opened must not become standard output because that was closed. */
static void open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* What a command printed may be all that it was for: a full disk there is a failure. A reader that had enough is none. */
static int finish(int status)
{
	struct err e = ERR_INIT;

	if (!fflush(stdout) && !ferror(stdout))
		return status;
	if (errno == EPIPE || status)
		return status;
	err_errno(&e, "cannot write to standard output");
	return cli_fail(&e);
}

int main(int argc, char **argv)
{
	enum log_level level = LOG_INFO;
	enum log_form form = LOG_PLAIN;
	int at = 1;

	opterr = 0; /* we say it ourselves */
	heap_tune();
	open_standard_files();
	signal(SIGPIPE, SIG_IGN);
	for (; at < argc && argv[at][0] == '-'; at++) {
		const char *option = argv[at];

		if (!strcmp(option, "--quiet") || !strcmp(option, "-q")) {
			level = LOG_ERROR;
		} else if (!strcmp(option, "--verbose") || !strcmp(option, "-v")) {
			level = LOG_DEBUG;
		} else if (!strcmp(option, "--log") && at + 1 < argc && !strcmp(argv[at + 1], "json")) {
			form = LOG_JSON;
			at++;
		} else if (!strcmp(option, "--help") || !strcmp(option, "-h")) {
			print_help(stdout);
			return EXIT_OK;
		} else if (!strcmp(option, "--version")) {
			printf("inetboot %s\n", INETBOOT_VERSION);
			return EXIT_OK;
		} else {
			fprintf(stderr, "inetboot: unknown option %s\n", option);
			print_help(stderr);
			return EXIT_USAGE;
		}
	}
	log_setup(level, form);
	if (at == argc) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[at], "help")) {
		if (at + 1 == argc) {
			print_help(stdout);
			return EXIT_OK;
		}
		argv[at] = argv[at + 1]; /* help COMMAND: COMMAND --help */
		argv[at + 1] = (char *)"--help";
	}
	for (size_t i = 0; i < command_count; i++)
		if (!strcmp(argv[at], commands[i].name))
			return finish(commands[i].run(argc - at, argv + at));
	fprintf(stderr, "inetboot: there is no command %s\n", argv[at]);
	print_help(stderr);
	return EXIT_USAGE;
}
