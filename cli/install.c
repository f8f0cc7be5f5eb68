/* inetboot install: a boot medium on a disk of its own, with a cache that is filled as it is used,
 * and what the systems write; by medium/make-medium.
 *
 * Before anything is written: medium/show-disk refuses what is in use and tells what is on the
 * disk; the kernel, asked to have the disk for ourselves, knows users that a script does not see;
 * then whoever is there is asked. A file that stands for a disk is not asked about where it is not
 * there yet. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/medium_options.h"
#include "machine/resources.h"

#define SIZE_LEAST (128ULL << 20) /* as medium/show-disk has it */

static const char help[] =
	"Usage: inetboot install DISK --entry 'TITLE=LINK'... [OPTION]...\n\n"
	"Puts a boot medium on a whole disk or stick, with a partition that keeps what is fetched and what the systems write. All that is on\n"
	"the disk is lost: what that is is shown, and asked about. DISK may also be a file that stands for one.\n\n" MEDIUM_ENTRIES_HELP "      --yes                  do not ask\n"
	"      --fill                 fetch the rest of an image while it is in use: later starts need no network\n"
	"      --writes HOW           keep (default): what a system writes is there again at its next start, which is on the same version of the\n"
	"                             image; none: it is gone at the end\n"
	"      --size SIZE            make the file DISK of this size, e.g. 8G\n" MEDIUM_OPTIONS_HELP "  -h, --help                 show this\n\n"
	"The disk starts PCs by BIOS, by UEFI and with Secure Boot. `inetboot medium` has the entries' and other options in common.\n\n"
	"Example: sudo inetboot install /dev/sdX --fill --entry 'Debian=http://192.0.2.1/store/debian#RWQ...'\n";

enum {
	OPT_YES = OPT_MEDIUM_OWN,
	OPT_FILL,
	OPT_WRITES,
	OPT_SIZE,
};

static const struct option options[] = {
	MEDIUM_LONG_OPTIONS,
	{"yes", no_argument, NULL, OPT_YES},
	{"fill", no_argument, NULL, OPT_FILL},
	{"writes", required_argument, NULL, OPT_WRITES},
	{"size", required_argument, NULL, OPT_SIZE},
	{"help", no_argument, NULL, 'h'},
	{0},
};

struct installing {
	struct medium m;
	bool yes, fill, writes;
	uint64_t size; /* 0: none was named */
	bool is_new;   /* a file that is not there yet */
	uint64_t number; /* the kernel's, of no other disk; 0: it has none */
};

static int take_option(void *context, int code, char *value)
{
	struct installing *i = context;

	switch (code) {
	case OPT_YES:
		i->yes = true;
		return 0;
	case OPT_FILL:
		i->fill = true;
		return 0;
	case OPT_WRITES:
		i->writes = !strcmp(value, "keep");
		return i->writes || !strcmp(value, "none")
			       ? 0
			       : cli_usage(
					 "install", "--writes takes keep or none, not '%s'", value);
	default:
		if (text_to_size(value, &i->size) < 0 || i->size < SIZE_LEAST ||
			i->size > INT64_MAX)
			return cli_usage("install",
				"--size takes a size of at least 128M, like 8G, not '%s'", value);
		return 0;
	}
}

/* Prints what is on the disk; fails where it is in use. */
static int show(const char *disk, struct err *e)
{
	_cleanup_free_ char *script = resource_path("show-disk", e);
	_cleanup_buf_ struct buf out = BUF_INIT(65536);
	struct tool t = {.package = "dash", .argv = {"sh", script, disk}, .output = &out};
	int r = script ? tool_run(&t, e) : -ENOENT;

	if (!r)
		r = buf_append(&out, "", 1);
	if (r < 0)
		return r;
	for (char *line = strtok((char *)out.data, "\n"); line; line = strtok(NULL, "\n")) {
		text_clean(line);
		fprintf(stderr, "%s\n", line);
	}
	return 0;
}

static uint64_t number_of(const char *disk)
{
	_cleanup_close_ int fd = open(disk, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint64_t number;

	return fd < 0 || ioctl(fd, BLKGETDISKSEQ, &number) < 0 ? 0 : number;
}

/* Could we write to all of it? Whoever has mounted it, or a part of it, anywhere, has it from the
 * kernel for himself alone. */
static int try_open(const char *disk, struct err *e)
{
	struct stat st;
	int fd = open(disk, O_RDWR | O_CLOEXEC | O_NONBLOCK |
				    (!stat(disk, &st) && S_ISBLK(st.st_mode) ? O_EXCL : 0));

	if (fd < 0 && errno == EBUSY)
		return err_set(e, -EBUSY, "%s is in use", disk);
	if (fd < 0)
		return err_errno(e, "%s cannot be written to", disk);
	close(fd);
	return 0;
}

static int ask(const struct installing *i, struct err *e)
{
	int answer, c;

	if (i->yes)
		return 0;
	if (!isatty(STDIN_FILENO))
		return err_set(e, -EPERM,
			"nobody is here to be asked whether all that is on %s may go: --yes says so",
			i->m.out);
	fprintf(stderr, "Erase all of it? [y/N] ");
	answer = getchar();
	for (c = answer; c != '\n' && c != EOF;)
		c = getchar();
	return answer == 'y' || answer == 'Y'
		       ? 0
		       : err_set(e, -ECANCELED, "%s stays as it is", i->m.out);
}

static int look(struct installing *i, struct err *e)
{
	struct stat st;
	int r;

	i->is_new = stat(i->m.out, &st) < 0 && errno == ENOENT;
	if (strchr(i->m.out, '?'))
		return err_set(e, -EINVAL, "a path with '?' in it is not taken here");
	if (i->is_new && text_starts(i->m.out, "/dev/"))
		return err_set(e, -ENOENT, "there is no such disk: is it plugged in?");
	if (i->is_new)
		return i->size ? 0
			       : err_set(e, -ENOENT,
					 "there is no such disk; for a file that stands for one, say --size");
	if (i->size)
		return err_set(e, -EEXIST, "--size is for a file that is not there yet");
	i->number = number_of(i->m.out);
	r = show(i->m.out, e);
	if (!r)
		r = try_open(i->m.out, e);
	return r < 0 ? r : ask(i, e);
}

static int make(struct installing *i, struct err *e)
{
	_cleanup_free_ char *words = file_path("%s%s", i->m.options, i->fill ? " fill" : "");
	_cleanup_free_ char *size = file_path("size=%llu", (unsigned long long)i->size);
	_cleanup_free_ char *number = file_path("diskseq=%llu", (unsigned long long)i->number);
	int r;

	if (!words || !size || !number)
		return err_set(e, -ENOMEM, "no memory");
	i->m.format = "disk";
	i->m.options = words;
	i->m.more[0] = size;
	i->m.more[1] = i->writes ? NULL : "writes=none";
	i->m.more[2] = i->number ? number : NULL;
	r = medium_make(&i->m, e);
	if (r < 0 && i->is_new)
		unlink(i->m.out);
	return r;
}

static int run(struct installing *i)
{
	struct err e = ERR_INIT;
	int r = look(i, &e);

	if (!r)
		r = make(i, &e);
	if (r < 0) {
		err_add(&e, "cannot install on %s", i->m.out);
		return cli_fail(&e);
	}
	printf("%s starts by itself now, by BIOS or UEFI: choose it in the firmware's boot menu. What is fetched is kept on it%s.\n",
		i->m.out, i->writes ? ", and what is written" : "");
	return EXIT_OK;
}

int cmd_install(int argc, char **argv)
{
	struct installing i = {.writes = true};
	int r = medium_take(
		&i.m, argc, argv, options, help, take_option, &i, "exactly one disk is needed");

	if (r < 0)
		r = run(&i);
	medium_free(&i.m);
	return r;
}
