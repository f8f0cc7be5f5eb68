/* inetboot publish: see publish/publish.h for what it does. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "machine/engine.h"
#include "machine/machine.h"
#include "machine/watch.h"
#include "publish/pack_maker.h"
#include "publish/pipeline.h"
#include "publish/profile.h"
#include "publish/publish.h"
#include "publish/tool.h"

static const char help[] =
	"Usage: inetboot publish IMAGE STORE --name NAME --key FILE [OPTION]...\n\n"
	"Puts a disk image into a store: a folder that any web server can hand out. Publishing "
	"under the same name again makes\n"
	"a new version, and stores only what is new in it. Until it is complete, the version "
	"before is what readers get;\n"
	"interrupted at any point, run it again and it continues.\n\n"
	"IMAGE is a raw disk image (file, block device, or - for a pipe), a cloop, qcow2, vmdk, "
	"vdi, vhd or vhdx image, or a folder\n"
	"or tar file (gz, xz, zst, bz2) with a root file system, which is made into a file system "
	"first.\n\n"
	"  -n, --name NAME      the image's name, the last part of its link\n"
	"  -k, --key FILE       secret key to sign with (see `inetboot key`)\n"
	"  -l, --level N        zstd level, 1 to 19 (default: 9; 3 while developing, 19 for "
	"releases)\n"
	"  -j, --jobs N         compressing threads (default: one per processor)\n"
	"      --fs TYPE        make folders and tar files into ext4 (default) or erofs\n"
	"      --mirror URL     another server that has this store; may be repeated\n"
	"      --expires TIME   readers shall warn from then on: 2027-01-31T12:00:00Z, or 30d, "
	"12h from now\n"
	"      --base-url URL   where the store will be on the web, to print the link with\n"
	"      --record         then boot it once, without a screen, and add a boot pack of what that reads\n"
	"      --record-engine ENGINE  boot it in uml (User-Mode Linux, the default) or qemu, which reads what a real machine does;\n"
	"                       may be repeated: the pack is for both\n"
	"      --record-until TEXT  the boot is over when its console shows TEXT (default: 'login: ')\n"
	"      --replace-key    go on although another key signed the versions before\n"
	"  -h, --help           show this\n\n"
	"How to boot it; without any of these the machine's own kernel for User-Mode Linux is "
	"used. An option given a second time\n"
	"begins the next entry; the first entry is the default:\n"
	"      --title TEXT     what a menu shows (default: NAME)\n"
	"      --type TYPE      uml, linux or xen; for guests of such systems, domu (a kernel for Xen) or image (the disk starts itself)\n"
	"                       (default: uml for a kernel that is an ELF program or for none, else linux)\n"
	"      --kernel FILE    kernel\n"
	"      --initrd FILE    initial RAM disk\n"
	"      --module FILE    a module for the boot loader (xen); may be repeated\n"
	"      --cmdline TEXT   kernel command line\n\n"
	"Free space in an image that still holds old data is published and fetched like data: "
	"before, run `fstrim` in the running\n"
	"machine, or `zerofree` on an unmounted ext4.\n\n"
	"Examples:\n"
	"  inetboot publish debian.img /srv/www/store --name debian --key ~/.inetboot.key "
	"--base-url https://example.org/store\n"
	"  inetboot publish disk.qcow2 store --name desktop --key k --title Desktop --kernel "
	"vmlinuz --cmdline 'root=/dev/vda1 ro'\n";

#define RECORD_TIMEOUT_S 900
#define ENGINES_MAX 2

struct publishing {
	struct publish_options o;
	bool record;
	const struct engine *engines[ENGINES_MAX];
	size_t engine_count; /* 0: none was named */
	const char *until;
};

enum {
	OPT_FS = 0x100,
	OPT_MIRROR,
	OPT_EXPIRES,
	OPT_BASE_URL,
	OPT_REPLACE_KEY,
	OPT_RECORD_BOOT,
	OPT_RECORD_UNTIL,
	OPT_RECORD_ENGINE,
	OPT_TITLE,
	OPT_TYPE,
	OPT_KERNEL,
	OPT_INITRD,
	OPT_MODULE,
	OPT_CMDLINE,
};

static const struct option options[] = {
	{"name", required_argument, NULL, 'n'},
	{"key", required_argument, NULL, 'k'},
	{"level", required_argument, NULL, 'l'},
	{"jobs", required_argument, NULL, 'j'},
	{"fs", required_argument, NULL, OPT_FS},
	{"mirror", required_argument, NULL, OPT_MIRROR},
	{"expires", required_argument, NULL, OPT_EXPIRES},
	{"base-url", required_argument, NULL, OPT_BASE_URL},
	{"replace-key", no_argument, NULL, OPT_REPLACE_KEY},
	{"record", no_argument, NULL, OPT_RECORD_BOOT},
	{"record-until", required_argument, NULL, OPT_RECORD_UNTIL},
	{"record-engine", required_argument, NULL, OPT_RECORD_ENGINE},
	{"title", required_argument, NULL, OPT_TITLE},
	{"type", required_argument, NULL, OPT_TYPE},
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"initrd", required_argument, NULL, OPT_INITRD},
	{"module", required_argument, NULL, OPT_MODULE},
	{"cmdline", required_argument, NULL, OPT_CMDLINE},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static int usage(const char *text, const char *value)
{
	return cli_usage("publish", text, value);
}

/* "30d", "+30d" and the like, or a time stamp. */
static int parse_expires(const char *text, char out[32])
{
	uint64_t n, unit;
	char number[24];
	size_t len = strlen(text);

	if (manifest_time(text) >= 0) {
		memcpy(out, text, len + 1);
		return 0;
	}
	text += *text == '+';
	len = strlen(text);
	if (len < 2 || len > sizeof(number))
		return -EINVAL;
	unit = text[len - 1] == 'd' ? 86400 : text[len - 1] == 'h' ? 3600 : 0;
	snprintf(number, sizeof(number), "%.*s", (int)(len - 1), text);
	if (!unit || text_to_u64(number, &n) < 0 ||
		n > 36525 * 24) /* a hundred years of hours: no overflow */
		return -EINVAL;
	return manifest_time_text(out, time(NULL) + (int64_t)(n * unit));
}

static const char **boot_field(struct publish_boot *b, int code)
{
	switch (code) {
	case OPT_TITLE:
		return &b->title;
	case OPT_TYPE:
		return &b->type;
	case OPT_KERNEL:
		return &b->kernel;
	case OPT_INITRD:
		return &b->initrd;
	default:
		return &b->cmdline;
	}
}

static bool known_type(const char *type)
{
	static const char *const types[] = {"uml", "linux", "xen", "domu", "image"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

static int boot_option(struct publish_options *o, int code, const char *value)
{
	struct publish_boot *b = o->boot_count ? &o->boot[o->boot_count - 1] : NULL;

	if (!b || (code != OPT_MODULE && *boot_field(b, code))) {
		if (o->boot_count == MANIFEST_BOOT_MAX)
			return usage("more boot entries than an image may have, at %s", value);
		b = &o->boot[o->boot_count++];
	}
	if (code == OPT_TYPE && !known_type(value))
		return usage("--type %s: it must be uml, linux, xen, domu or image", value);
	if ((code == OPT_TITLE || code == OPT_CMDLINE) && strlen(value) > MANIFEST_TEXT_MAX)
		return usage("a title or command line is too long: %.40s...", value);
	if (code != OPT_MODULE)
		*boot_field(b, code) = value;
	else if (b->module_count == MANIFEST_MODULES_MAX)
		return usage("more modules than a boot entry may have, at %s", value);
	else
		b->modules[b->module_count++] = value;
	return 0;
}

static int number_option(const char *value, uint64_t most, uint64_t *out)
{
	return text_to_u64(value, out) < 0 || !*out || *out > most ? -EINVAL : 0;
}

static bool add_engine(struct publishing *p, const char *name)
{
	const struct engine *engine = engine_find(name);

	for (size_t i = 0; i < p->engine_count; i++)
		if (p->engines[i] == engine)
			return false;
	if (!engine || p->engine_count == ENGINES_MAX)
		return false;
	p->engines[p->engine_count++] = engine;
	return true;
}

/* 0 or EXIT_USAGE. */
static int take_option(void *context, int code, char *value)
{
	struct publishing *p = context;
	struct publish_options *o = &p->o;
	uint64_t n;

	switch (code) {
	case 'n':
		o->name = value;
		return 0;
	case 'k':
		o->key = value;
		return 0;
	case 'l':
		if (number_option(value, PUBLISH_LEVEL_MAX, &n) < 0)
			return usage("--level %s: it must be 1 to 19", value);
		o->level = (int)n;
		return 0;
	case 'j':
		if (number_option(value, PIPELINE_JOBS_MAX, &n) < 0)
			return usage("--jobs %s: it must be 1 to 256", value);
		o->jobs = (unsigned)n;
		return 0;
	case OPT_FS:
		o->filesystem = value;
		return strcmp(value, "ext4") && strcmp(value, "erofs")
			       ? usage("--fs %s: it must be ext4 or erofs", value)
			       : 0;
	case OPT_MIRROR:
		if (!cli_is_url(value) || strlen(value) > MANIFEST_TEXT_MAX ||
			o->mirror_count == MANIFEST_MIRRORS_MAX)
			return usage("--mirror %s: no http or https URL, or too many", value);
		o->mirrors[o->mirror_count++] = value;
		return 0;
	case OPT_EXPIRES:
		return parse_expires(value, o->expires) < 0
			       ? usage("--expires %s: give a time like 2027-01-31T12:00:00Z, or "
				       "30d",
					 value)
			       : 0;
	case OPT_BASE_URL:
		return cli_base_url("publish", value, &o->base_url);
	case OPT_REPLACE_KEY:
		o->replace_key = true;
		return 0;
	case OPT_RECORD_UNTIL:
		if (!*value || strlen(value) >= WATCH_UNTIL_MAX)
			return usage("--record-until %s: it must be a text, and not so long", value);
		p->until = value;
		p->record = true;
		return 0;
	case OPT_RECORD_ENGINE:
		if (!add_engine(p, value))
			return usage("--record-engine %s: it must be uml or qemu, each once", value);
		/* fallthrough */
	case OPT_RECORD_BOOT:
		p->record = true;
		return 0;
	default:
		return boot_option(o, code, value);
	}
}

static void print_result(
	const struct publish_options *o, const struct publish_result *r, uint64_t ms)
{
	char size[TEXT_SIZE_MAX], stored[TEXT_SIZE_MAX], fresh[TEXT_SIZE_MAX];

	text_size(size, r->size);
	text_size(stored, r->blocks.bytes);
	text_size(fresh, r->blocks.new_bytes);
	printf("%s version %" PRIu64 "%s: %s%s%s, %" PRIu64 " chunks, %s compressed\n", o->name,
		r->version, r->unchanged ? " (unchanged)" : "", size, *r->filesystem ? ", " : "",
		r->filesystem, r->chunks, stored);
	printf("new: %s in %" PRIu64 " of %" PRIu64 " blocks; %" PRIu64 ".%" PRIu64 " seconds\n",
		fresh, r->blocks.new_blocks, r->blocks.blocks, ms / 1000, ms % 1000 / 100);
	printf("%s\n", r->link);
}

/* Boots what was published, and writes a trace. */
static int record_boot(const struct publishing *p, const struct engine *engine, const char *trace, struct err *e)
{
	_cleanup_free_ char *link = file_path("%s/%s", p->o.store, p->o.name);
	struct machine_options machine = {
		.engine = engine,
		.link = link,
		.name = p->o.name,
		.image = {.no_cache = true, .memory_limit = MEMORY_LIMIT_DEFAULT},
		.memory = engine->memory,
		.timeout_s = RECORD_TIMEOUT_S,
		.until = p->until,
		.record = trace,
		.control = -1,
	};
	pid_t child;
	int status;

	if (!link)
		return err_set(e, -ENOMEM, "no memory to boot");
	log_info("booting %s in %s until its console shows '%s'", p->o.name, engine->name, p->until);
	fflush(NULL);
	child = fork(); /* a machine takes the whole process, its namespaces too */
	if (child < 0)
		return err_errno(e, "cannot start a machine");
	if (!child) {
		struct err why = ERR_INIT;
		bool clean = machine_run(&machine, &why) == MACHINE_CLEAN;

		if (!clean)
			log_error("%s", why.text);
		_exit(!clean);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		kill(child, SIGTERM);
	return status ? err_set(e, -EIO, "the boot that was to be recorded did not come to its end") : 0;
}

static void free_traces(char *(*traces)[ENGINES_MAX])
{
	for (size_t i = 0; i < ENGINES_MAX; i++)
		free((*traces)[i]);
}

static int add_pack(const struct publishing *p)
{
	_cleanup_(workspace_close) struct workspace w = WORKSPACE_INIT;
	_cleanup_(free_traces) char *traces[ENGINES_MAX] = {0};
	struct profile_options profile = {.store = p->o.store, .name = p->o.name, .key = p->o.key, .traces = (const char **)traces,
		.trace_count = p->engine_count, .least = 1, .level = PACK_LEVEL_DEFAULT};
	struct err e = ERR_INIT;
	int r = workspace_open(&w, &e);

	for (size_t i = 0; !r && i < p->engine_count; i++) {
		traces[i] = file_path("%s/%s.trace", w.path, p->engines[i]->name);
		r = traces[i] ? record_boot(p, p->engines[i], traces[i], &e) : err_set(&e, -ENOMEM, "no memory to boot");
	}
	if (r < 0) {
		err_add(&e, "%s is published, but without a boot pack", p->o.name);
		return cli_fail(&e);
	}
	return cli_profile(&profile);
}

int cli_publish(const struct publish_options *o)
{
	struct publish_result result;
	struct err e = ERR_INIT;
	uint64_t start = clock_ms();

	cancel_on(SIGINT);
	cancel_on(SIGTERM);
	if (publish_image(o, &result, &e) < 0) {
		err_add(&e, "cannot publish %s", o->image);
		return cli_fail(&e);
	}
	print_result(o, &result, clock_ms() - start);
	free(result.link);
	return EXIT_OK;
}

int cmd_publish(int argc, char **argv)
{
	_cleanup_free_ struct publishing *p = calloc(1, sizeof(*p));
	struct publish_options *o = p ? &p->o : NULL;
	struct err e = ERR_INIT;
	int r;

	if (!p) {
		err_set(&e, -ENOMEM, "no memory for the options");
		return cli_fail(&e);
	}
	o->level = PUBLISH_LEVEL_DEFAULT;
	p->until = "login: ";
	r = cli_options(argc, argv, "hn:k:l:j:", options, help, take_option, p);
	if (r >= 0)
		return r;
	if (argc - optind != 2)
		return cli_usage("publish", "IMAGE and STORE are needed");
	if (!p->engine_count)
		add_engine(p, "uml");
	if (!o->name || !o->key)
		return cli_usage("publish", "--name and --key are needed");
	o->image = argv[optind];
	o->store = argv[optind + 1];
	r = cli_publish(o);
	return r == EXIT_OK && p->record ? add_pack(p) : r;
}
