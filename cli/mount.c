/* inetboot mount: the virtual disk as a file, for any program. Runs in the foreground unless told otherwise; in the background the
 * caller gets the prompt back when the mount answers. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
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
	int ready_fd; /* somebody waits here for a byte; -1: nobody */
};

/* Whoever reads our output to its end must not wait for the mount's. A log in a file goes on. */
static void let_go(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct stat st;

	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		if (fd < 2 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
			dup2(null, fd);
	if (null > 2)
		close(null);
}

static void tell_ready(void *context)
{
	struct mounting *m = context;

	log_info("%s is mounted at %s; end it with: fusermount3 -u %s", m->link, m->dir, m->dir);
	if (m->ready_fd < 0)
		return;
	let_go();
	if (write(m->ready_fd, "", 1) < 0)
		log_debug("nobody waits for the mount");
	close(m->ready_fd);
}

/* Forks the server; the parent returns its status when the mount is ready or has failed. In the child returns -1. */
static int go_background(int *ready_fd)
{
	int fds[2], status;
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return EXIT_FAILED;
	pid = fork();
	if (pid < 0)
		return EXIT_FAILED;
	if (!pid) {
		close(fds[0]);
		setsid();
		*ready_fd = fds[1];
		return -1;
	}
	close(fds[1]);
	if (read(fds[0], &byte, 1) == 1)
		return EXIT_OK;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}

int cmd_mount(int argc, char **argv)
{
	enum { OPT_BACKGROUND = OPT_COMMAND, OPT_ALLOW_OTHER };
	static const struct option options[] = {
		{"background", no_argument, NULL, OPT_BACKGROUND},
		{"allow-other", no_argument, NULL, OPT_ALLOW_OTHER},
		{"help", no_argument, NULL, 'h'},
		IMAGE_LONG_OPTIONS,
		{0},
	};
	struct image_option_values v;
	struct image_mount where = {.bulk = true, .ready = tell_ready};
	bool background = false;
	struct image *image = NULL;
	struct err e = ERR_INIT;
	struct mounting m = {.ready_fd = -1};
	int code, r;

	image_options_init(&v);
	while ((code = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (code == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (code == '?')
			return cli_bad_option("mount", argv);
		if (code == OPT_BACKGROUND)
			background = true;
		else if (code == OPT_ALLOW_OTHER)
			where.allow_other = true;
		else if (image_option(&v, "mount", code, optarg))
			return EXIT_USAGE;
	}
	if (argc - optind != 2)
		return cli_usage("mount", "a link and a folder are needed");
	m.link = argv[optind];
	m.dir = where.dir = argv[optind + 1];
	where.context = &m;
	if (background) {
		r = go_background(&m.ready_fd);
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
