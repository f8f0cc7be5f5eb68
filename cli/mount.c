/* inetboot mount: the virtual disk as a file, for any program. Runs in the foreground unless told otherwise; in the background the
 * caller gets the prompt back when the mount answers. */
#include <stdio.h>

#include "base/log.h"
#include "cli/background.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "export/image_mount.h"

static const char help[] =
	"Usage: inetboot mount [OPTIONS] LINK DIR\n\n"
	"Shows the virtual disk of an image as the read-only file DIR/disk, and what is going on as DIR/status (JSON).\n"
	"LINK may also be a disk image or cloop file, here or on a web server. End it with `fusermount3 -u DIR` or Ctrl-C.\n\n"
	"  --background         return when the mount is ready, and go on in the background\n"
	"  --allow-other        let other users read it (needs user_allow_other in /etc/fuse.conf)\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot mount http://127.0.0.1:8080/debian /tmp/d & mount -o ro,loop /tmp/d/disk /mnt\n";

struct mounting {
	const char *link, *dir;
	struct background background;
};

static void tell_ready(void *context)
{
	struct mounting *m = context;

	log_info("%s is mounted at %s; end it with: fusermount3 -u %s", m->link, m->dir, m->dir);
	background_ready(&m->background, NULL);
}

int cmd_mount(int argc, char **argv)
{
	static int background, allow_other;
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"background", no_argument, &background, 1},
		{"allow-other", no_argument, &allow_other, 1},
		IMAGE_LONG_OPTIONS,
		{0},
	};
	struct image_option_values v;
	struct image_mount where = {.bulk = true, .ready = tell_ready};
	struct image *image = NULL;
	struct err e = ERR_INIT;
	struct mounting m = {.background.ready_fd = -1};
	int r;

	r = image_options_parse(&v, argc, argv, options, help, 2, "a link and a folder are needed");
	if (r >= 0)
		return r;
	m.link = argv[optind];
	m.dir = where.dir = argv[optind + 1];
	where.context = &m;
	where.allow_other = allow_other;
	if (background) {
		r = background_start(&m.background);
		if (r >= 0)
			return r;
	}
	r = image_open(&image, m.link, &v.o, &e);
	if (!r)
		r = image_open_disk(image, &e);
	if (!r)
		r = image_mount_serve(image, &where, &e);
	if (r < 0)
		err_add(&e, "cannot mount %s", m.link);
	image_close(image);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}
