/* inetboot make: bootable images, by recipes/debian-image. The image is made in a file without a
 * name, which is gone however this ends until it is whole; then it gets its name, or is published.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/recipe.h"
#include "format/link.h"
#include "publish/publish.h"

static const char help[] =
	"Usage: inetboot make KIND OUT [OPTION]...\n"
	"       inetboot make KIND --store DIR --key FILE [OPTION]...\n\n"
	"Makes a bootable disk image of Debian, by mmdebstrap and without privileges: OUT, a raw "
	"ext4, or a new version in a store.\n"
	"User-Mode Linux boots it, virtual and real machines do with the kernel that is in it. "
	"KIND is one of\n\n"
	"  debian               a small system: systemd, network, sudo\n"
	"  server               that, with an ssh server, curl, rsync, nano\n"
	"  desktop              XFCE, with a terminal, an editor and a small web browser\n\n"
	"  -s, --store DIR      publish it in this store, as `inetboot publish` does\n"
	"  -k, --key FILE       secret key to sign with (see `inetboot key`)\n"
	"  -n, --name NAME      its name in the store (default: KIND)\n"
	"  -l, --level N        zstd level, 1 to 19 (default: 9)\n\n"
	"  --release NAME       Debian's release (default: bookworm)\n"
	"  --mirror URL         a Debian archive; nothing but its main part is used then (default: "
	"deb.debian.org, with\n"
	"                       the release's updates and security updates)\n"
	"  --packages A,B       install these, too; may be repeated\n"
	"  --size SIZE          of the disk; free space costs nothing (default: 1G, 2G for a "
	"server, 4G for a desktop)\n"
	"  --user NAME          the user (default: user)\n"
	"  --lang LANGUAGE      language and keyboard: a short code (be bg br ch cn cs da de en es "
	"fi fr gr he hu it ja ko nl no\n"
	"                       pl pt ru sk sv tr tw ua uk us), or a locale like de_AT (default: "
	"none, and a US keyboard)\n"
	"  --no-kernel          leave Debian's kernel out: smaller, and for User-Mode Linux alone "
	"(--kernel: with it; the default)\n"
	"  -h, --help           show this\n\n"
	"The user needs no password on the console, and none for sudo; by ssh he comes in with a "
	"key, or after `passwd`. Root cannot log in.\n"
	"With a kernel, OUT.vmlinuz and OUT.initrd are written, too, for virtual machines that "
	"start a kernel directly.\n\n"
	"The same options give the same bytes for as long as Debian's archive stays as it is. "
	"SOURCE_DATE_EPOCH is honoured; without it, the\n"
	"date of the release is the latest that a file in the image has. Packages are kept in "
	"~/.cache/inetboot/images/debs.\n\n"
	"Examples:\n"
	"  inetboot make debian debian.img --no-kernel\n"
	"  inetboot make desktop --store /srv/www/store --key ~/.inetboot.key --lang de\n";

#define SIZE_LEAST (512ULL << 20)
#define SIZE_MOST (1ULL << 43) /* 8 TiB: of what ext4 holds without 64-bit block numbers, half */
#define PACKAGES_MAX 4096      /* bytes of their names */
#define BOOT_FILE_MAX (512u << 20)

enum {
	OPT_RELEASE = 0x100,
	OPT_MIRROR,
	OPT_PACKAGES,
	OPT_SIZE,
	OPT_USER,
	OPT_LANG,
	OPT_KERNEL,
	OPT_NO_KERNEL,
};

static const struct option options[] = {
	{"store", required_argument, NULL, 's'},
	{"key", required_argument, NULL, 'k'},
	{"name", required_argument, NULL, 'n'},
	{"level", required_argument, NULL, 'l'},
	{"release", required_argument, NULL, OPT_RELEASE},
	{"mirror", required_argument, NULL, OPT_MIRROR},
	{"packages", required_argument, NULL, OPT_PACKAGES},
	{"size", required_argument, NULL, OPT_SIZE},
	{"user", required_argument, NULL, OPT_USER},
	{"lang", required_argument, NULL, OPT_LANG},
	{"kernel", no_argument, NULL, OPT_KERNEL},
	{"no-kernel", no_argument, NULL, OPT_NO_KERNEL},
	{"help", no_argument, NULL, 'h'},
	{0},
};

struct making {
	struct recipe recipe;
	struct buf packages;
	const char *out; /* NULL: for a store */
	const char *store, *key, *name;
	int level;
	struct workspace w;
	int image;
};

static int usage(const char *text, const char *value)
{
	return cli_usage("make", text, value);
}

static bool made_of(const char *text, const char *characters, size_t most)
{
	size_t len = strlen(text);

	return len && len <= most && strspn(text, characters) == len;
}

#define SMALL "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

static int add_packages(struct making *m, const char *value)
{
	if (!made_of(value, SMALL DIGITS "+-.,", PACKAGES_MAX) || strchr("+-.,", *value))
		return usage(
			"--packages %s: names of packages are needed, with commas between them",
			value);
	if (buf_printf(&m->packages, "%s%s", m->packages.len ? "," : "", value) < 0)
		return usage("more packages than it takes, at %.40s", value);
	m->recipe.packages = (const char *)m->packages.data;
	return 0;
}

static bool plain_url(const char *value)
{
	return cli_is_url(value) &&
	       made_of(value, SMALL "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "-._~:/@%+,=[]", 1024);
}

/* 0 or EXIT_USAGE. */
static int take_option(void *context, int code, char *value)
{
	struct making *m = context;
	struct recipe *r = &m->recipe;
	uint64_t n;

	switch (code) {
	case 's':
		m->store = value;
		return 0;
	case 'k':
		m->key = value;
		return 0;
	case 'n':
		m->name = value;
		return 0;
	case 'l':
		if (text_to_u64(value, &n) < 0 || !n || n > PUBLISH_LEVEL_MAX)
			return usage("--level %s: it must be 1 to 19", value);
		m->level = (int)n;
		return 0;
	case OPT_RELEASE:
		r->release = value;
		return made_of(value, SMALL DIGITS "-.", 40) && value[0] != '-' && value[0] != '.'
			       ? 0
			       : usage("--release %s: it must be a name like bookworm", value);
	case OPT_MIRROR:
		r->mirror = value;
		return plain_url(value) ? 0
					: usage("--mirror %s: it must be an http or https URL, "
						"without blanks and quotes",
						  value);
	case OPT_PACKAGES:
		return add_packages(m, value);
	case OPT_SIZE:
		if (text_to_size(value, &n) < 0 || n < SIZE_LEAST || n > SIZE_MOST)
			return usage("--size %s: it must be a size from 512M to 8T", value);
		r->size = n & ~((1ULL << 20) - 1);
		return 0;
	case OPT_USER:
		r->user = value;
		return made_of(value, SMALL DIGITS "_-", 32) && !strchr(DIGITS "-", *value) &&
				       strcmp(value, "root")
			       ? 0
			       : usage("--user %s: it must be a user's name, of small letters, "
				       "digits, '_' and '-', and not root",
					 value);
	case OPT_LANG:
		return language_find(value, &r->language) < 0
			       ? usage("--lang %s: it must be a short code like de, or a locale "
				       "like de_AT",
					 value)
			       : 0;
	default:
		r->kernel = code == OPT_KERNEL;
		return 0;
	}
}

static int take_kind(struct making *m, const char *kind)
{
	static const struct {
		const char *name;
		uint64_t size;
	} kinds[] = {{"debian", 1ULL << 30}, {"server", 2ULL << 30}, {"desktop", 4ULL << 30}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kind, kinds[i].name)) {
			m->recipe.kind = kind;
			if (!m->recipe.size)
				m->recipe.size = kinds[i].size;
			return 0;
		}
	return usage("there is no kind %s: it must be debian, server or desktop", kind);
}

/* What would otherwise show minutes later. */
static int check_target(const struct making *m, struct err *e)
{
	struct stat st;

	if (m->store && !link_name_valid(m->name))
		return err_set(e, -EINVAL,
			"'%s' is no name of an image: letters, digits, '.', '_' and '-' make one",
			m->name);
	if (m->store)
		return access(m->key, R_OK) < 0 ? err_errno(e, "cannot read the key %s", m->key)
						: 0;
	if (!stat(m->out, &st) && !S_ISREG(st.st_mode))
		return err_set(e, -EEXIST,
			"%s is there, and is no file: make the image beside it, and copy it",
			m->out);
	return 0;
}

/* A file without a name that all may write to: it is filled by the tree's root, whom it does not
 * belong to. */
static int open_image(struct making *m, const char *dir, struct err *e)
{
	int r = folder_needs(dir, recipe_needs(&m->recipe), "choose another folder", e);

	if (r < 0)
		return r;
	m->image = open(dir, O_TMPFILE | O_RDWR, 0600);
	if (m->image < 0)
		return err_errno(e,
			"cannot make a file without a name in %s: choose a folder on a local disk",
			dir);
	return fchmod(m->image, 0666) < 0 ? err_errno(e, "cannot open a file in %s to others", dir)
					  : 0;
}

/* Gives the image its name. */
static int name_image(const struct making *m, const char *dir, struct err *e)
{
	_cleanup_free_ char *from = file_path("/proc/self/fd/%d", m->image);
	_cleanup_free_ char *half = file_path("%s/.inetboot-make.%d", dir, (int)getpid());
	int r = 0;

	if (!from || !half)
		return err_set(e, -ENOMEM, "no memory for a path");
	if (fchmod(m->image, 0644) < 0 || fsync(m->image) < 0 ||
		linkat(AT_FDCWD, from, AT_FDCWD, half, AT_SYMLINK_FOLLOW) < 0)
		return err_errno(e, "cannot write %s", m->out);
	if (rename(half, m->out) < 0) {
		r = err_errno(e, "cannot write %s", m->out);
		unlink(half);
	}
	return r;
}

static int copy_boot_file(
	const struct making *m, const char *name, const char *suffix, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(BOOT_FILE_MAX);
	_cleanup_free_ char *from = file_path("%s/%s", m->w.path, name);
	_cleanup_free_ char *to = file_path("%s.%s", m->out, suffix);
	int r = from && to ? file_load(AT_FDCWD, from, &data, e)
			   : err_set(e, -ENOMEM, "no memory for a path");

	return r < 0 ? r : file_save(AT_FDCWD, to, data.data, data.len, 0, e);
}

static void command_line(const struct making *m, char out[96])
{
	char uuid[HASH_UUID_MAX];

	recipe_uuid(&m->recipe, uuid);
	snprintf(out, 96, "root=UUID=%s ro console=ttyS0 console=tty0", uuid);
}

static int write_out(struct making *m, const char *dir, struct err *e)
{
	struct stat st = {0};
	char size[TEXT_SIZE_MAX], taken[TEXT_SIZE_MAX], cmdline[96];
	int r = m->recipe.kernel ? copy_boot_file(m, "vmlinuz", "vmlinuz", e) : 0;

	if (!r && m->recipe.kernel)
		r = copy_boot_file(m, "initrd.img", "initrd", e);
	if (!r)
		r = name_image(m, dir, e);
	if (r < 0)
		return r;
	fstat(m->image, &st);
	text_size(size, (uint64_t)st.st_size);
	text_size(taken, (uint64_t)st.st_blocks * 512);
	printf("%s: %s, %s of it in use\n", m->out, size, taken);
	command_line(m, cmdline);
	if (m->recipe.kernel)
		printf("its kernel: %s.vmlinuz, %s.initrd, with '%s'\n", m->out, m->out, cmdline);
	return 0;
}

static int publish(struct making *m)
{
	_cleanup_free_ struct publish_options *o = calloc(1, sizeof(*o));
	_cleanup_free_ char *image = file_path("/proc/self/fd/%d", m->image);
	_cleanup_free_ char *kernel = file_path("%s/vmlinuz", m->w.path);
	_cleanup_free_ char *initrd = file_path("%s/initrd.img", m->w.path);
	_cleanup_free_ char *title = file_path("Debian %s%s%s", m->recipe.release,
		strcmp(m->recipe.kind, "debian") ? " " : "",
		strcmp(m->recipe.kind, "debian") ? m->recipe.kind : "");
	char cmdline[96];
	struct err e = ERR_INIT;

	if (!o || !image || !kernel || !initrd || !title) {
		err_set(&e, -ENOMEM, "no memory to publish");
		return cli_fail(&e);
	}
	command_line(m, cmdline);
	o->image = image;
	o->store = m->store;
	o->name = m->name;
	o->key = m->key;
	o->level = m->level;
	o->boot[o->boot_count++] = (struct publish_boot){.title = title, .type = "uml"};
	if (m->recipe.kernel)
		o->boot[o->boot_count++] = (struct publish_boot){.title = title,
			.type = "linux",
			.kernel = kernel,
			.initrd = initrd,
			.cmdline = cmdline};
	return cli_publish(o);
}

/* 0, or negative with e set. */
static int make(struct making *m, const char *dir, struct err *e)
{
	int r = check_target(m, e);

	if (!r)
		r = workspace_open(&m->w, e);
	if (r < 0)
		return r;
	if (chmod(m->w.path, 0711) < 0) /* the tree's users pass through */
		return err_errno(e, "cannot open %s to others", m->w.path);
	r = workspace_needs(&m->w, recipe_needs(&m->recipe) * (m->store ? 2 : 1), e);
	if (!r)
		r = open_image(m, dir ? dir : m->w.path, e);
	return r < 0 ? r : recipe_run(&m->recipe, &m->w, m->image, e);
}

static int run(struct making *m)
{
	_cleanup_free_ char *copy = m->out ? strdup(m->out) : NULL;
	const char *dir = copy ? dirname(copy) : NULL;
	struct err e = ERR_INIT;
	int status = EXIT_OK, r;

	cancel_on(SIGINT);
	cancel_on(SIGTERM);
	cancel_on(SIGHUP);
	r = make(m, dir, &e);
	if (!r && m->store)
		status = publish(m);
	else if (!r)
		r = write_out(m, dir, &e);
	if (r < 0) {
		err_add(&e, "cannot make %s", m->store ? m->recipe.kind : m->out);
		status = cli_fail(&e);
	}
	if (m->image >= 0)
		close(m->image);
	workspace_close(&m->w);
	buf_free(&m->packages);
	return status;
}

int cmd_make(int argc, char **argv)
{
	struct making m = {
		.recipe = {.release = "bookworm",
			.user = "user",
			.language = {"C.UTF-8", "us"},
			.kernel = true},
		.packages = BUF_INIT(PACKAGES_MAX),
		.level = PUBLISH_LEVEL_DEFAULT,
		.w = WORKSPACE_INIT,
		.image = -1,
	};
	int r;

	r = cli_options(argc, argv, "hs:k:n:l:", options, help, take_option, &m);
	if (r >= 0)
		return r;
	if (optind == argc)
		return cli_usage("make", "a KIND is needed: debian, server or desktop");
	r = take_kind(&m, argv[optind]);
	if (r)
		return r;
	if (argc - optind != (m.store ? 1 : 2))
		return cli_usage("make",
			m.store ? "either OUT or --store, not both" : "OUT is needed, or --store");
	if (!m.store != !m.key)
		return cli_usage("make", "--store and --key go together");
	if (m.name && !m.store)
		return cli_usage("make", "--name is for --store");
	if (!m.name)
		m.name = m.recipe.kind;
	m.out = m.store ? NULL : argv[optind + 1];
	return run(&m);
}
