/* inetboot diff: what differs between two versions; see disk/difference.h. The blocks are compared by a child, in its sandbox; files are listed
 * by tools, which read the disks through mounts, each with processes of its own (machine/feed.h). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/file_list.h"
#include "cli/image_options.h"
#include "disk/confine.h"
#include "disk/difference.h"
#include "machine/feed.h"
#include "publish/filesystem.h"
#include "publish/tool.h"

static const char help[] =
	"Usage: inetboot diff [OPTIONS] LINK LINK\n\n"
	"Shows what differs between two images, usually versions of one: NAME@1 and NAME@2, or "
	"NAME@1 and NAME. How many blocks of the\n"
	"second one are new to who has the first, and where the disks differ; no block is fetched "
	"for that.\n\n"
	"  --ranges             list the places where they differ, in bytes: from, to\n"
	"  --files              list the files that were added (+), removed (-) and changed (~: "
	"other size, time, mode, owner or inode),\n"
	"                       on disks that are one ext4 (needs debugfs) or squashfs "
	"(unsquashfs); this mounts both and reads what it needs\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot diff --files store/debian@1 store/debian@2\n";

static int show_ranges, show_files;

static void print_difference(
	const struct image *a, const struct image *b, const struct difference *d)
{
	const struct manifest *m = &a->manifest, *n = &b->manifest;
	char fresh[TEXT_SIZE_MAX], fetch[TEXT_SIZE_MAX], changed[TEXT_SIZE_MAX],
		size[TEXT_SIZE_MAX];
	uint64_t bytes = d->file_bytes;

	/* Of blocks on a server only the sum is known. */
	if (!bytes && d->bytes)
		bytes = (uint64_t)((double)n->stored * (double)d->new_bytes / (double)d->bytes);
	text_size(fresh, d->new_bytes);
	text_size(fetch, bytes);
	text_size(changed, d->range_bytes);
	text_size(size, n->image.size);
	printf("%s version %" PRIu64 " to %s version %" PRIu64 "\n", m->name, m->version, n->name,
		n->version);
	printf("%-12s %" PRIu64 " of %" PRIu64 " are new: %s of its disk, %s%s to fetch\n",
		"blocks", d->new_chunks, d->chunks, fresh, d->file_bytes || !bytes ? "" : "about ",
		fetch);
	printf("%-12s %s of %s, in %zu places\n", "differs", changed, size, d->range_count);
	for (size_t i = 0; show_ranges && i < d->range_count; i++)
		printf("%" PRIu64 " %" PRIu64 "\n", d->ranges[i].start, d->ranges[i].end);
}

static int compare_blocks(const char *const links[2], const struct image_options *o, struct err *e)
{
	struct image *images[2] = {0};
	struct difference d;
	int r = images_confine(links, 2, o, e);

	for (int i = 0; !r && i < 2; i++) {
		r = image_open(&images[i], links[i], o, e);
		if (r < 0)
			err_add(e, "%s", links[i]);
	}
	if (!r)
		r = image_difference(images[0], images[1], &d, e);
	if (!r) {
		print_difference(images[0], images[1], &d);
		difference_free(&d);
	}
	image_close(images[0]);
	image_close(images[1]);
	return r;
}

/* In a child, as the sandbox is for good. Returns its exit status. */
static int run_compare(const char *const links[2], const struct image_options *o, struct err *e)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (child < 0)
		return err_errno(e, "cannot start a process");
	if (!child) {
		if (compare_blocks(links, o, e) == 0)
			exit(EXIT_OK);
		err_add(e, "cannot compare");
		exit(cli_fail(e));
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		kill(child, SIGTERM);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}

static int read_file(void *context, void *buf, size_t len, uint64_t offset, struct err *e)
{
	int r = file_pread(*(int *)context, buf, len, offset);

	return r < 0 ? err_set(e, r, "cannot read the disk: %s", strerror(-r)) : 0;
}

static int detect(const char *disk, char filesystem[32], struct err *e)
{
	_cleanup_close_ int fd = open(disk, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, "cannot open the disk");
	return filesystem_detect(read_file, &fd, (uint64_t)st.st_size, filesystem, e);
}

static int load_files(struct file_list *out, const char *link, const struct image_options *o,
	const char *scratch, const char *name, struct err *e)
{
	_cleanup_free_ char *dir = file_path("%s/%s", scratch, name);
	char filesystem[32];
	struct feed feed;
	int r;

	if (!dir || mkdir(dir, 0700) < 0)
		return err_errno(e, "cannot make a folder in %s", scratch);
	r = feed_start(&feed, link, o, NULL, dir, -1, 0, e);
	if (r < 0)
		return err_add(e, "%s", link);
	r = detect(feed.disk, filesystem, e);
	if (!r)
		r = file_list_load(out, feed.disk, filesystem, scratch, e);
	feed_stop(&feed);
	return r < 0 ? err_add(e, "%s", link) : 0;
}

static void print_file(char mark, const struct file_entry *f, const char *before)
{
	_cleanup_free_ char *line =
		before ? file_path("%s (%s; before: %s)", f->path, f->what, before)
		       : file_path("%s", f->path);

	if (!line)
		return;
	text_clean(line); /* names come from the image */
	printf("%c %s\n", mark, line);
}

/* A folder changes with what is in it, which is listed. */
static void print_files(const struct file_list *a, const struct file_list *b)
{
	size_t i = 0, k = 0;

	while (i < a->count || k < b->count) {
		const struct file_entry *x = i < a->count ? &a->list[i] : NULL,
					*y = k < b->count ? &b->list[k] : NULL;
		int order = !x ? 1 : !y ? -1 : strcmp(x->path, y->path);

		if (order < 0)
			print_file('-', x, NULL);
		else if (order > 0)
			print_file('+', y, NULL);
		else if (strcmp(x->what, y->what) != 0 && !(x->folder && y->folder))
			print_file('~', y, x->what);
		i += order <= 0;
		k += order >= 0;
	}
}

static int compare_files(const char *const links[2], const struct image_options *o, struct err *e)
{
	_cleanup_(workspace_close) struct workspace w = WORKSPACE_INIT;
	struct file_list a = {0}, b = {0};
	int r = workspace_open(&w, e);

	if (!r)
		r = load_files(&a, links[0], o, w.path, "a", e);
	if (!r)
		r = load_files(&b, links[1], o, w.path, "b", e);
	if (!r)
		print_files(&a, &b);
	file_list_free(&a);
	file_list_free(&b);
	return r < 0 ? err_add(e, "cannot list the files") : 0;
}

int cmd_diff(int argc, char **argv)
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'},
		{"ranges", no_argument, &show_ranges, 1}, {"files", no_argument, &show_files, 1},
		IMAGE_LONG_OPTIONS, {0}};
	struct image_option_values v;
	struct err e = ERR_INIT;
	const char *links[2];
	int r = image_options_parse(&v, argc, argv, options, help, 2, "two links are needed");

	if (r >= 0)
		return r;
	links[0] = argv[optind];
	links[1] = argv[optind + 1];
	r = run_compare(links, &v.o, &e);
	if (r)
		return r < 0 ? cli_fail(&e) : r;
	if (!show_files)
		return EXIT_OK;
	cancel_on(SIGINT);
	cancel_on(SIGTERM);
	return compare_files(links, &v.o, &e) < 0 ? cli_fail(&e) : EXIT_OK;
}
