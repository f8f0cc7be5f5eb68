/* inetboot fetch: the files that start an image, for whatever starts it. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/image_options.h"
#include "disk/boot_files.h"
#include "disk/confine.h"

static const char help[] =
	"Usage: inetboot fetch [OPTIONS] LINK DIR\n\n"
	"Writes the kernel of an image, its initrd and its modules into the folder DIR, for a boot loader or a virtual machine:\n"
	"kernel, initrd, module.1 and on, and as text type, title, cmdline, and link, which leads to just this version.\n\n"
	"  --entry NAME         title or number of the boot entry (default: the first)\n"
	"  --type TYPE          only of this type: linux, xen, uml, domu, image; or several, with commas\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot fetch --type linux 'http://127.0.0.1:8080/debian#RWQ...' /tmp/debian\n";

enum {
	OPT_ENTRY = OPT_COMMAND,
	OPT_TYPE,
};

struct wanted {
	const char *entry, *type; /* or NULL */
};

static int take_option(void *context, int code, char *value)
{
	struct wanted *w = context;

	*(code == OPT_ENTRY ? &w->entry : &w->type) = value;
	return 0;
}

static int fetch(const char *link, const struct image_options *o, int folder, const struct wanted *wanted, struct err *e)
{
	struct image *image = NULL;
	const struct boot_entry *b = NULL;
	int r = image_open(&image, link, o, e);

	if (r >= 0) {
		b = boot_entry_find(&image->manifest, wanted->entry, wanted->type, e);
		r = b ? boot_files_write(image, link, b, folder, e) : -1;
	}
	image_close(image);
	return r;
}

int cmd_fetch(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"entry", required_argument, NULL, OPT_ENTRY},
		{"type", required_argument, NULL, OPT_TYPE},
		IMAGE_LONG_OPTIONS,
		{0},
	};
	struct wanted wanted = {0};
	const char *link, *dir;
	struct image_option_values v;
	struct err e = ERR_INIT;
	int folder, r;

	r = image_options_take(&v, argc, argv, "h", options, help, take_option, &wanted);
	if (r >= 0)
		return r;
	if (argc - optind != 2)
		return cli_usage("fetch", "a link and a folder are needed");
	link = argv[optind];
	dir = argv[optind + 1];
	image_options_find_cache(&v);
	folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = folder < 0 ? err_errno(&e, "cannot write to the folder %s", dir) : 0;
	if (!r)
		r = fetch_confine(link, &v.o, dir, &e);
	if (!r)
		r = fetch(link, &v.o, folder, &wanted, &e);
	if (folder >= 0)
		close(folder);
	if (r < 0)
		err_add(&e, "cannot fetch what starts %s", link);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}
