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
	"  --type TYPE          only of this type: linux, xen, uml; or several, with commas\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot fetch --type linux 'http://127.0.0.1:8080/debian#RWQ...' /tmp/debian\n";

enum {
	OPT_ENTRY = OPT_COMMAND,
	OPT_TYPE,
};

static int fetch(const char *link, const struct image_options *o, int folder, const char *entry, const char *type, struct err *e)
{
	struct image *image = NULL;
	const struct boot_entry *b = NULL;
	int r = image_open(&image, link, o, e);

	if (r >= 0) {
		b = boot_entry_find(&image->manifest, entry, type, e);
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
	const char *entry = NULL, *type = NULL, *link, *dir;
	struct image_option_values v;
	struct err e = ERR_INIT;
	int code, folder, r;

	image_options_init(&v);
	while ((code = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (code == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (code == '?')
			return cli_bad_option("fetch", argv);
		if (code == OPT_ENTRY)
			entry = optarg;
		else if (code == OPT_TYPE)
			type = optarg;
		else if (image_option(&v, "fetch", code, optarg))
			return EXIT_USAGE;
	}
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
		r = fetch(link, &v.o, folder, entry, type, &e);
	if (folder >= 0)
		close(folder);
	if (r < 0)
		err_add(&e, "cannot fetch what starts %s", link);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}
