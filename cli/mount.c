/* inetboot mount: the virtual disk as a file, for any program. Runs in the foreground unless told otherwise; in the background the
 * caller gets the prompt back when the mount answers. */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "cli/background.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "export/handover.h"
#include "export/image_mount.h"

static const char help[] =
	"Usage: inetboot mount [OPTIONS] LINK DIR\n"
	"       inetboot mount --replace DIR\n\n"
	"Shows the virtual disk of an image as the read-only file DIR/disk, and what is going on as DIR/status (JSON).\n"
	"LINK may also be a disk image or cloop file, here or on a web server. End it with `fusermount3 -u DIR` or Ctrl-C.\n\n"
	"  --background         return when the mount is ready, and go on in the background\n"
	"  --allow-other        let other users read it (needs user_allow_other in /etc/fuse.conf)\n"
	"  --pack               fetch the image's boot pack first: for a mount that a machine boots from\n"
	"  --fill               fetch the rest of the image into the cache while nothing else is read (SIGUSR1 pauses that)\n"
	RECORD_OPTION_HELP
	"  --replace            hand the mount that is at DIR over to this program; readers do not notice\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot mount http://127.0.0.1:8080/debian /tmp/d & mount -o ro,loop /tmp/d/disk /mnt\n";

struct mounting {
	const char *link, *dir;
	struct background background;
};

static void tell_ready(void *context, const char *report)
{
	struct mounting *m = context;

	log_info("%s is mounted at %s; end it with: fusermount3 -u %s", m->link, m->dir, m->dir);
	background_ready(&m->background, NULL);
}

static int replace(const char *dir)
{
	struct handover_answer before;
	struct err e = ERR_INIT;

	if (handover_ask(dir, &before, &e) < 0) {
		err_add(&e, "cannot replace the program that serves %s", dir);
		return cli_fail(&e);
	}
	log_info("%s: process %u was inetboot %s, and is inetboot %s now", dir, before.pid, before.version, INETBOOT_VERSION);
	return EXIT_OK;
}

/* mount: all but the link and the folder. */
static int serve(struct mounting *m, struct image_mount *mount, bool background)
{
	struct handover handover;
	struct err e = ERR_INIT;
	int r = handover_begin(&handover, &e);

	if (r == -ECANCELED) {
		handover_free(&handover);
		return EXIT_OK;
	}
	if (!r && background && !handover.resume) {
		r = background_start(&m->background);
		if (r >= 0) {
			handover_free(&handover);
			return r;
		}
		r = 0;
	}
	mount->link = m->link;
	mount->dir = m->dir;
	mount->context = m;
	mount->handover = &handover;
	if (!r)
		r = image_mount_run(mount, &e);
	handover_free(&handover);
	if (r < 0)
		err_add(&e, "cannot mount %s", m->link);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}

int cmd_mount(int argc, char **argv)
{
	static int background, allow_other, replacing, pack, fill;
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"background", no_argument, &background, 1},
		{"allow-other", no_argument, &allow_other, 1},
		{"replace", no_argument, &replacing, 1},
		{"pack", no_argument, &pack, 1},
		{"fill", no_argument, &fill, 1},
		RECORD_LONG_OPTION,
		IMAGE_LONG_OPTIONS,
		{0},
	};
	struct image_option_values v;
	struct image_mount mount = {.bulk = true, .ready = tell_ready};
	struct mounting m = {.background.ready_fd = -1};
	int r = image_options_parse(&v, argc, argv, options, help, -1, NULL);

	if (r >= 0)
		return r;
	if (argc - optind != (replacing ? 1 : 2))
		return cli_usage("mount", "%s", replacing ? "with --replace, just a folder" : "a link and a folder are needed");
	if (replacing)
		return replace(argv[optind]);
	m.link = argv[optind];
	m.dir = argv[optind + 1];
	v.o.play = pack;
	v.o.fill = fill;
	mount.options = &v.o;
	mount.bulk = !pack;
	mount.record = v.record;
	mount.allow_other = allow_other;
	return serve(&m, &mount, background);
}
