/* inetboot boot: an image in a machine, in this terminal or in the background. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/background.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "cli/named_boot.h"
#include "cli/start_switch.h"
#include "format/mirror_words.h"
#include "machine/display.h"
#include "machine/engine.h"
#include "machine/machine.h"
#include "machine/watch.h"
#include "network/meeting.h"
#include "network/names.h"

#define MEMORY_LEAST (64ULL << 20)
#define SCREEN_LEAST 64 /* pixels */
#define SCREEN_MOST 16384

static const char help[] =
	"Usage: inetboot boot [OPTIONS] LINK\n"
	"       inetboot boot [OPTIONS] --name NAME\n"
	"       inetboot boot [OPTIONS] --engine qemu --medium FILE\n\n"
	"Starts an image in a machine of User-Mode Linux or QEMU, as an ordinary process. LINK may also be a disk image or a cloop file,\n"
	"here or on a web server. Only what the guest reads is fetched. Type Ctrl-] to shut the guest down, twice to end it.\n\n"
	"  --engine ENGINE      what the guest runs in: uml (User-Mode Linux, the default), or qemu, which starts the image's own kernel\n"
	"                       as a real machine does; on KVM where that works\n"
	"  --disk               of qemu: its firmware starts what is on the disk, whatever the operating system\n"
	"  --medium FILE        of qemu: it starts from this boot medium (`inetboot medium`), without a LINK\n"
	"  --firmware WHICH     with these two: bios (default) or uefi\n"
	"  --memory SIZE        the guest's memory (default: 512M; of qemu 1G)\n"
	"  --overlay FILE       keep what the guest writes to its ext4 in this copy-on-write file (default: it is lost at the end)\n"
	"  --kernel FILE        this kernel (default: for uml that of `make uml-kernel`, else linux.uml; for qemu the image's)\n"
	"  --append 'WORDS'     more words for the kernel's command line; may be repeated (mirror=URL is like --mirror)\n"
	"  --network NAME       the network that it is in, with the host and all other guests there (default: default); none: no network\n"
	"  --switch vde:SOCKET  instead: on this vde_switch (package vde2) or uml_switch (uml-utilities), which runs already\n"
	"  --name NAME          a machine of its own: it keeps what it writes, stays on the image's version, and is started again\n"
	"                       without LINK; `inetboot ps` lists them. Others in the network reach it as NAME.inetboot\n"
	"                       (without this option: by the image's name)\n"
	"  --writes HOW         how a machine with a name keeps what it writes: files (default; any image, and `inetboot rebase` takes\n"
	"                       it to another version), blocks (ext4 only; `inetboot commit` publishes it, if of --engine uml), none (it is lost)\n"
	"  --gui                show its X session in a window of this X display; closing the window shuts it down\n"
	"  --display PROGRAM    the window's: xephyr or xnest (default: whichever is here)\n"
	"  --vnc [HOST:]PORT    show it to VNC viewers, by a password that is printed\n"
	"  --web [HOST:]PORT    show it in a browser, at an address that is printed\n"
	"  --size WxH           the screen's size (default: 1024x768)\n"
	"  --console WHERE      terminal (default), none, or a file's path\n"
	"  --detach             run in the background; prints the process number and where the console goes\n"
	"  --timeout S          end the guest after S seconds (for the network: --net-timeout)\n"
	"  --until TEXT         shut down in order when the console shows TEXT, for example 'login: '\n"
	RECORD_OPTION_HELP
	"  --no-pack            do not fetch the image's boot pack ahead of what is read\n"
	"  --fill               fetch the rest of the image into the cache while the guest reads nothing from the network\n"
	"  --report FILE        write times and what was fetched to FILE, as JSON\n"
	"  --trust              the guest's programs are trusted: run them by seccomp, which is faster (kernels from 6.16 on)\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExit status: 0 shut down in order, 1 not started, 2 wrong usage, 3 kernel panic, 4 time limit, 5 ended otherwise.\n"
	"\nExample: inetboot boot 'http://127.0.0.1:8080/debian#RWQ...'\n";

enum { EXIT_PANIC = 3, EXIT_TIMEOUT = 4, EXIT_KILLED = 5 };

struct boot {
	struct machine_options o;
	struct image_option_values image;
	char append[4096];
	const char *network; /* NULL: the default one, where it can be had */
	char name[NAME_MAX_LEN + 1];
	bool has_name; /* by --name: a machine that is kept */
	enum writes writes;
	struct named_boot named;
	struct shared_feed shared;
	struct display_options display;
	char display_host[16];
	struct membership membership;
	bool detach;
	bool about_image; /* an option of how an image is read was given */
	struct background background;
	char *background_console; /* owned */
};

static int add_append(struct boot *b, const char *words)
{
	size_t used = strlen(b->append);

	if (used + strlen(words) + 2 > sizeof(b->append))
		return cli_usage("boot", "--append: more than %zu bytes", sizeof(b->append));
	snprintf(b->append + used, sizeof(b->append) - used, "%s%s", used ? " " : "", words);
	b->o.append = b->append;
	return 0;
}

/* Of --append. The text lives as long as the program. */
static int add_mirror(void *boot, const char *url)
{
	char *copy = strdup(url);

	return copy ? image_option(&((struct boot *)boot)->image, "boot", OPT_MIRROR, copy) : EXIT_FAILED;
}

static int set_console(struct boot *b, const char *where)
{
	b->o.show = !strcmp(where, "terminal");
	if (!b->o.show && strcmp(where, "none"))
		b->o.console_file = where;
	return 0;
}

static int set_memory(struct boot *b, const char *value)
{
	struct sysinfo here;

	if (text_to_size(value, &b->o.memory) < 0 || b->o.memory < MEMORY_LEAST)
		return cli_usage("boot", "--memory takes a size of at least 64M, like 512M or 2G, not '%s'", value);
	/* User-Mode Linux would try for very long. */
	if (!sysinfo(&here) && b->o.memory / here.mem_unit > here.totalram)
		return cli_usage("boot", "--memory %s is more than this machine has", value);
	return 0;
}

static int set_network(struct boot *b, const char *name)
{
	b->network = name;
	return strcmp(name, "none") ? cli_network("boot", name) : 0;
}

static int set_switch(struct boot *b, const char *value)
{
	if (!text_starts(value, "vde:") || !value[4])
		return cli_usage("boot", "--switch takes vde:SOCKET, the socket (or, for vde_switch, the folder) of a switch that runs, not '%s'", value);
	b->o.vde = value + 4;
	return 0;
}

static int set_name(struct boot *b, const char *name)
{
	if (!name_valid(name))
		return cli_usage("boot", "--name takes small letters, digits and '-', at most %d, not '%s'", NAME_MAX_LEN, name);
	snprintf(b->name, sizeof(b->name), "%s", name);
	b->has_name = true;
	return 0;
}

static int set_writes(struct boot *b, const char *how)
{
	b->writes = writes_of(how);
	return b->writes ? 0 : cli_usage("boot", "--writes takes files, blocks or none, not '%s'", how);
}

/* Of the link's last component. */
static void name_by_link(struct boot *b, const char *link)
{
	size_t len = strcspn(link, "#"), start;

	while (len && link[len - 1] == '/')
		len--;
	for (start = len; start && link[start - 1] != '/';)
		start--;
	len -= start;
	for (size_t i = 0; i < len; i++)
		if (link[start + i] == '@')
			len = i;
	name_clean(b->name, link + start, len);
	if (!*b->name)
		strcpy(b->name, "guest");
}

static int set_display(struct boot *b, const char *program)
{
	enum display_kind kind = !program ? DISPLAY_WINDOW : !strcmp(program, "xephyr") ? DISPLAY_XEPHYR : !strcmp(program, "xnest") ? DISPLAY_XNEST : DISPLAY_NONE;

	if (!kind)
		return cli_usage("boot", "--display takes xephyr or xnest, not '%s'", program);
	if (program || !b->display.kind)
		b->display.kind = kind;
	return 0;
}

/* [HOST:]PORT, on this machine alone where no host is said. */
static int set_address(struct boot *b, enum display_kind kind, const char *option, const char *value)
{
	const char *colon = strrchr(value, ':');
	struct in_addr in;
	uint64_t port;

	snprintf(b->display_host, sizeof(b->display_host), "%.*s", colon ? (int)(colon - value) : 9, colon ? value : "127.0.0.1");
	if (text_to_u64(colon ? colon + 1 : value, &port) < 0 || !port || port > UINT16_MAX || inet_pton(AF_INET, b->display_host, &in) != 1)
		return cli_usage("boot", "--%s takes a port, or an IPv4 address and a port like 127.0.0.1:5901, not '%s'", option, value);
	b->display.kind = kind;
	b->display.address = b->display_host;
	b->display.port = (uint16_t)port;
	return 0;
}

static int set_size(struct boot *b, const char *value)
{
	char end;

	if (sscanf(value, "%5ux%5u%c", &b->display.width, &b->display.height, &end) != 2 || b->display.width < SCREEN_LEAST ||
		b->display.height < SCREEN_LEAST || b->display.width > SCREEN_MOST || b->display.height > SCREEN_MOST)
		return cli_usage("boot", "--size takes a size like 1024x768, from %d to %d each, not '%s'", SCREEN_LEAST, SCREEN_MOST, value);
	return 0;
}

enum boot_option_code {
	OPT_ENGINE = OPT_COMMAND,
	OPT_DISK,
	OPT_MEDIUM,
	OPT_FIRMWARE,
	OPT_MEMORY,
	OPT_OVERLAY,
	OPT_KERNEL,
	OPT_APPEND,
	OPT_CONSOLE,
	OPT_DETACH,
	OPT_TIMEOUT,
	OPT_UNTIL,
	OPT_REPORT,
	OPT_TRUST,
	OPT_NO_PACK,
	OPT_FILL,
	OPT_NETWORK,
	OPT_SWITCH,
	OPT_NAME,
	OPT_WRITES,
	OPT_GUI,
	OPT_DISPLAY,
	OPT_VNC,
	OPT_WEB,
	OPT_SIZE,
};

static int take_option(struct boot *b, int code, const char *value)
{
	switch (code) {
	case OPT_ENGINE:
		b->o.engine = engine_find(value);
		return b->o.engine ? 0 : cli_usage("boot", "there is no engine %s; there are uml and qemu", value);
	case OPT_DISK:
		b->o.whole_disk = true;
		return 0;
	case OPT_MEDIUM:
		b->o.medium = value;
		return 0;
	case OPT_FIRMWARE:
		b->o.uefi = !strcmp(value, "uefi");
		return b->o.uefi || !strcmp(value, "bios") ? 0 : cli_usage("boot", "--firmware takes bios or uefi, not '%s'", value);
	case OPT_MEMORY:
		return set_memory(b, value);
	case OPT_OVERLAY:
		b->o.overlay = value;
		return 0;
	case OPT_KERNEL:
		b->o.kernel = value;
		return 0;
	case OPT_APPEND:
		return add_append(b, value);
	case OPT_CONSOLE:
		return set_console(b, value);
	case OPT_DETACH:
		b->detach = true;
		return 0;
	case OPT_TIMEOUT:
		return cli_seconds("boot", "timeout", value, &b->o.timeout_s);
	case OPT_UNTIL:
		if (!*value || strlen(value) >= WATCH_UNTIL_MAX)
			return cli_usage("boot", "--until takes a text of 1 to %d bytes", WATCH_UNTIL_MAX - 1);
		b->o.until = value;
		return 0;
	case OPT_REPORT:
		b->o.report = value;
		return 0;
	case OPT_FILL:
		b->image.o.fill = b->about_image = true;
		return 0;
	case OPT_NO_PACK:
		b->image.o.play = false;
		b->about_image = true;
		return 0;
	case OPT_NETWORK:
		return set_network(b, value);
	case OPT_SWITCH:
		return set_switch(b, value);
	case OPT_NAME:
		return set_name(b, value);
	case OPT_WRITES:
		return set_writes(b, value);
	case OPT_GUI:
		return set_display(b, NULL);
	case OPT_DISPLAY:
		return set_display(b, value);
	case OPT_VNC:
		return set_address(b, DISPLAY_VNC, "vnc", value);
	case OPT_WEB:
		return set_address(b, DISPLAY_WEB, "web", value);
	case OPT_SIZE:
		return set_size(b, value);
	case OPT_TRUST:
		b->o.trusted = true;
		return 0;
	default:
		b->about_image = true;
		return image_option(&b->image, "boot", code, value);
	}
}

/* The console's file of a machine in the background: what was named, or one by its process number. Made here, so that messages can go
 * there, too. */
static char *background_console(const struct boot *b, struct err *e)
{
	const char *named = b->o.console_file ? b->o.console_file : b->named.log;
	_cleanup_free_ char *state = named ? NULL : file_xdg_dir("XDG_STATE_HOME", ".local/state", e);
	_cleanup_free_ char *dir = state ? file_path("%s/machines", state) : NULL;

	if (named)
		return strdup(named);
	return dir && !file_mkdirs(dir, e) ? file_path("%s/%ld.log", dir, (long)getpid()) : NULL;
}

/* The guest runs: tells whoever started us, who may stop waiting then. */
static void tell_started(void *context)
{
	struct boot *b = context;

	printf("%ld %s\n", (long)getpid(), b->o.console_file);
	fflush(stdout);
	if (b->has_name)
		log_info("`inetboot console %s` shows its console, `inetboot stop %s` shuts it down", b->name, b->name);
	else
		log_info("its console is in that file; to shut it down: kill %ld", (long)getpid());
	background_ready(&b->background, b->o.console_file);
}

/* In the child of background_start(). */
static int into_background(struct boot *b, struct err *e)
{
	b->background_console = background_console(b, e);
	if (!b->background_console)
		return -EIO;
	b->o.console_file = b->background_console;
	b->o.show = false;
	b->o.background = true;
	b->o.started = tell_started;
	b->o.context = b;
	return 0;
}

/* What the command line leaves open comes from what the machine was started with before. */
static int open_named(struct boot *b, struct err *e)
{
	struct named_settings wanted = {.link = (char *)b->o.link, .writes = b->writes, .network = (char *)b->network,
		.append = *b->append ? b->append : NULL, .memory = b->o.memory, .trusted = b->o.trusted,
		.engine = b->o.engine ? (char *)b->o.engine->name : NULL};
	struct named_boot *nb = &b->named;

	if (named_boot_open(nb, b->name, &wanted, &b->o.image, e) < 0)
		return -EIO;
	b->network = nb->settings.network;
	b->o.append = nb->settings.append;
	b->o.memory = nb->settings.memory;
	b->o.trusted = nb->settings.trusted;
	b->o.engine = nb->settings.engine ? engine_find(nb->settings.engine) : &engine_uml;
	if (!b->o.engine)
		return err_set(e, -ENOENT, "the machine %s is one of an engine that is not known here: %s", b->name, nb->settings.engine);
	if (b->o.engine->check(&b->o, e) < 0 || named_boot_keep(nb, e) < 0)
		return -EIO;
	b->o.link = nb->link;
	b->o.overlay = nb->overlay;
	b->o.writes = nb->writes;
	b->o.mac = nb->mac;
	b->o.control = nb->control;
	return 0;
}

/* Machines that stay on a version of an image share it with one another. One that records wants to see all that is read. */
static int share_disk(struct boot *b, struct err *e)
{
	uint64_t until = b->o.timeout_s ? clock_ms() + b->o.timeout_s * 1000ULL : 0;
	int r;

	if (!b->has_name || !b->named.settings.version || b->o.record)
		return 0;
	r = shared_feed_join(&b->shared, b->o.link, &b->o.image, until, e);
	if (!r)
		b->o.shared = &b->shared;
	return r;
}

static int prepare(struct boot *b, struct err *e)
{
	int r = b->has_name ? open_named(b, e) : 0;

	if (!r && b->detach)
		r = into_background(b, e);
	if (!r && !b->o.memory)
		b->o.memory = b->o.engine->memory;
	if (!r && !*b->name)
		name_by_link(b, b->o.link ? b->o.link : b->o.medium);
	b->o.name = b->name;
	if (!r && b->display.kind) {
		b->display.title = b->name;
		r = display_check(&b->display, e);
	}
	return r;
}

/* Without a word about networks a guest without one is better than none. */
static int join_network(struct boot *b, struct err *e)
{
	struct err why = ERR_INIT;
	int r;

	if (b->o.vde || (b->network && !strcmp(b->network, "none")))
		return 0;
	r = meeting_join(&b->membership, b->network ? b->network : NETWORK_DEFAULT, cli_start_switch, b->network ? e : &why);
	if (!r)
		b->o.network = b->membership.folder;
	else if (!b->network)
		log_warning("the guest has no network: %s", why.text);
	return b->network ? r : 0;
}

int cmd_boot(int argc, char **argv)
{
	static const struct option options[] = {
		{"engine", required_argument, NULL, OPT_ENGINE},
		{"disk", no_argument, NULL, OPT_DISK},
		{"medium", required_argument, NULL, OPT_MEDIUM},
		{"firmware", required_argument, NULL, OPT_FIRMWARE},
		{"memory", required_argument, NULL, OPT_MEMORY},
		{"overlay", required_argument, NULL, OPT_OVERLAY},
		{"kernel", required_argument, NULL, OPT_KERNEL},
		{"append", required_argument, NULL, OPT_APPEND},
		{"console", required_argument, NULL, OPT_CONSOLE},
		{"detach", no_argument, NULL, OPT_DETACH},
		{"timeout", required_argument, NULL, OPT_TIMEOUT},
		{"until", required_argument, NULL, OPT_UNTIL},
		{"report", required_argument, NULL, OPT_REPORT},
		{"trust", no_argument, NULL, OPT_TRUST},
		{"no-pack", no_argument, NULL, OPT_NO_PACK},
		{"fill", no_argument, NULL, OPT_FILL},
		{"network", required_argument, NULL, OPT_NETWORK},
		{"switch", required_argument, NULL, OPT_SWITCH},
		{"name", required_argument, NULL, OPT_NAME},
		{"writes", required_argument, NULL, OPT_WRITES},
		{"gui", no_argument, NULL, OPT_GUI},
		{"display", required_argument, NULL, OPT_DISPLAY},
		{"vnc", required_argument, NULL, OPT_VNC},
		{"web", required_argument, NULL, OPT_WEB},
		{"size", required_argument, NULL, OPT_SIZE},
		RECORD_LONG_OPTION,
		{"help", no_argument, NULL, 'h'},
		IMAGE_LONG_OPTIONS,
		{0},
	};
	static const int statuses[] = {EXIT_OK, EXIT_FAILED, EXIT_PANIC, EXIT_TIMEOUT, EXIT_KILLED};
	struct boot b = {.o = {.show = true, .control = -1}, .named = NAMED_BOOT_INIT, .shared = SHARED_FEED_INIT, .display = {.width = 1024, .height = 768}, .membership = MEMBERSHIP_INIT};
	struct err e = ERR_INIT;
	enum machine_end end;
	int code, r;

	image_options_init(&b.image);
	b.image.o.play = true;
	while ((code = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (code == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (code == '?')
			return cli_bad_option("boot", argv);
		if (take_option(&b, code, optarg))
			return EXIT_USAGE;
	}
	if (argc - optind > 1 || (argc == optind && !b.has_name && !b.o.medium))
		return cli_usage("boot", "exactly one link is needed");
	b.o.link = argv[optind]; /* or NULL */
	b.o.record = b.image.record;
	if (b.has_name && b.o.medium)
		return cli_usage("boot", "a machine with a --name keeps what is written to the disk of a LINK; with --medium there is none");
	if (b.has_name && b.o.whole_disk)
		return cli_usage("boot", "a machine with a --name does not start as a whole disk: --overlay FILE keeps what that writes");
	if (b.display.kind)
		b.o.display = &b.display;
	if (!b.o.engine && !b.has_name)
		b.o.engine = &engine_uml;
	if (b.o.engine && b.o.engine->check(&b.o, &e) < 0)
		return cli_usage("boot", "%s", e.text);
	if (b.o.medium && b.about_image)
		return cli_usage("boot", "the medium fetches images by itself, and keeps them where its own menu says: options of how an image is read go with a LINK");
	if (b.has_name && b.o.overlay)
		return cli_usage("boot", "a machine with a name keeps its writes itself: --writes instead of --overlay");
	if (b.writes && !b.has_name)
		return cli_usage("boot", "--writes is for a machine with a --name; others have --overlay");
	if (b.o.vde && b.network)
		return cli_usage("boot", "--switch and --network exclude each other: a machine has one network device");
	if (mirror_words(b.append, add_mirror, &b))
		return EXIT_USAGE;
	image_options_find_cache(&b.image);
	b.o.image = b.image.o;
	if (b.detach) {
		r = background_start(&b.background);
		if (r >= 0)
			return r;
	}
	end = prepare(&b, &e) < 0 || share_disk(&b, &e) < 0 || join_network(&b, &e) < 0 ? MACHINE_NOT_STARTED : machine_run(&b.o, &e);
	if (end != MACHINE_CLEAN) {
		err_add(&e, "boot of %s", b.o.link ? b.o.link : b.o.medium ? b.o.medium : b.name);
		cli_fail(&e);
	}
	membership_end(&b.membership);
	shared_feed_leave(&b.shared);
	named_boot_close(&b.named);
	free(b.background_console);
	return statuses[end];
}
