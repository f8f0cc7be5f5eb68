/* inetboot medium: a boot medium, by medium/make-medium. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "format/link.h"
#include "format/signature.h"
#include "machine/resources.h"
#include "publish/tool.h"

static const char help[] =
	"Usage: inetboot medium OUT --entry 'TITLE=LINK'... [OPTION]...\n\n"
	"Makes a boot medium: a small Linux that brings up the network, fetches the kernel and initrd of the chosen image, checks them\n"
	"against the link's key, and starts the image with the Internet virtual disk as its root. OUT is a file, or a folder for pxe and grub.\n\n"
	"      --entry TITLE=LINK     a line of its menu; LINK may name a version (NAME@N). May be repeated\n"
	"      --catalog TITLE=STORE  a line that shows what a store has when it is chosen: URL, or URL#KEY for images of that key alone\n"
	"      --script TITLE=URL     a line that runs a script before the system starts; a key must have signed it: URL#KEY, or --key\n"
	"      --format FORM          iso: a CD that is also a USB stick, for BIOS and UEFI (default)\n"
	"                             usb: a disk image with a FAT32, for a stick that other files go on, too\n"
	"                             efi: one file for UEFI: an ESP, or HTTP boot\n"
	"                             pxe: kernel, initrd and a script for iPXE\n"
	"                             grub: kernel, initrd and a menu for a GRUB that is there\n"
	"      --kernel KERNEL        stock: Debian's signed kernel (default); small: one with all drivers built in, made when first used\n"
	"      --timeout S            start the default entry after so many seconds (default: 10)\n"
	"      --default N            number of that entry (default: 1)\n"
	"      --console LIST         what the kernel shows its messages on, e.g. ttyS0,115200;tty0 (default), the last is the main one\n"
	"      --options TEXT         more kernel options for all entries, such as nodhcp or vlan=5: see inetboot-preboot(7)\n"
	"      --cacert FILE          trust these certificate authorities for https (default: this system's)\n"
	"      --key KEY              scripts (iscript=) may be signed by this public key; may be repeated\n"
	"  -h, --help                 show this\n\n"
	"Works without privileges. The same options and packages give the same bytes.\n\n"
	"Examples:\n"
	"  inetboot medium inetboot.iso --entry 'Debian=http://192.0.2.1/store/debian#RWQ...'\n"
	"  inetboot medium /srv/tftp/inetboot --format pxe --entry 'Lab=http://192.0.2.1/store/lab#RWQ...' --options ip=dhcp\n";

#define ENTRIES_MAX 64
#define CONSOLES_MAX 128 /* bytes */
#define OPTIONS_MAX 1024 /* bytes; of a kernel's command line half */
#define TITLE_MAX 64
#define PARTS_MISSING "the medium's own programs are not there: `make medium-parts` in the source builds them"

enum {
	OPT_ENTRY = 0x100,
	OPT_CATALOG,
	OPT_SCRIPT,
	OPT_FORMAT,
	OPT_KERNEL,
	OPT_TIMEOUT,
	OPT_DEFAULT,
	OPT_CONSOLE,
	OPT_OPTIONS,
	OPT_CACERT,
	OPT_KEY,
};

static const struct option options[] = {
	{"entry", required_argument, NULL, OPT_ENTRY},
	{"catalog", required_argument, NULL, OPT_CATALOG},
	{"script", required_argument, NULL, OPT_SCRIPT},
	{"format", required_argument, NULL, OPT_FORMAT},
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"default", required_argument, NULL, OPT_DEFAULT},
	{"console", required_argument, NULL, OPT_CONSOLE},
	{"options", required_argument, NULL, OPT_OPTIONS},
	{"cacert", required_argument, NULL, OPT_CACERT},
	{"key", required_argument, NULL, OPT_KEY},
	{"help", no_argument, NULL, 'h'},
	{0},
};

struct medium {
	const char *out, *format, *kernel, *console, *options, *cacert;
	struct buf entries; /* lines "TITLE<tab>WORD" */
	struct buf keys;    /* lines */
	size_t count;
	uint64_t timeout, chosen;
	struct workspace w;
};

static bool printable(const char *text, const char *without)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127 || strchr(without, *p))
			return false;
	return true;
}

static bool one_of(const char *word, const char *const *list)
{
	while (*list && strcmp(*list, word) != 0)
		list++;
	return *list;
}

static int usage(const char *text, const char *value)
{
	return cli_usage("medium", text, value);
}

/* What stands behind TITLE= must be fit for a kernel's command line. */
static int check_target(int code, const char *target, struct err *e)
{
	_cleanup_(link_free) struct link l = {0};

	if (!cli_is_url(target) || !printable(target, " '\"\\\t$`"))
		return err_set(e, -EINVAL, "%s is no http or https URL, or has blanks or quotes in it", target);
	if (code != OPT_ENTRY)
		return 0;
	if (link_parse(&l, target, e) < 0)
		return -EINVAL;
	return l.name[0] ? 0 : err_set(e, -EINVAL, "%s names no image of a store", target);
}

static int add_entry(struct medium *m, int code, char *value)
{
	const char *word = code == OPT_ENTRY ? "httpfuse" : code == OPT_SCRIPT ? "iscript" : "catalog";
	char *target = strchr(value, '=');
	struct err e = ERR_INIT;

	if (!target || target == value || (size_t)(target - value) > TITLE_MAX)
		return usage("TITLE=LINK is needed, with a title of up to 64 bytes, not '%s'", value);
	*target++ = 0;
	if (!printable(value, "\t"))
		return usage("a title must be plain text, not '%s'", value);
	if (check_target(code, target, &e) < 0)
		return usage("%s", e.text);
	if (code != OPT_SCRIPT && !strchr(target, '#'))
		log_warning("%s has no key (#RWQ...): whoever is on the way can change what is started", target);
	if (++m->count > ENTRIES_MAX || buf_printf(&m->entries, "%s\t%s=%s\n", value, word, target) < 0)
		return usage("more entries than a medium has, at %s", value);
	return 0;
}

static int add_key(struct medium *m, const char *value)
{
	struct public_key key;

	if (public_key_decode(&key, value, strlen(value), NULL) < 0)
		return usage("--key %s: no public key as `inetboot key` prints it", value);
	return buf_printf(&m->keys, "%s\n", value) < 0 ? usage("more keys than a medium has, at %s", value) : 0;
}

static int take_option(void *context, int code, char *value)
{
	struct medium *m = context;
	static const char *const formats[] = {"iso", "usb", "efi", "pxe", "grub", NULL}, *const kernels[] = {"stock", "small", NULL};

	switch (code) {
	case OPT_FORMAT:
		m->format = value;
		return one_of(value, formats) ? 0 : usage("there is no format %s: it must be iso, usb, efi, pxe or grub", value);
	case OPT_KERNEL:
		m->kernel = value;
		return one_of(value, kernels) ? 0 : usage("there is no kernel %s: it must be stock or small", value);
	case OPT_TIMEOUT:
		return text_to_u64(value, &m->timeout) < 0 || m->timeout > 86400 ? usage("--timeout %s: seconds are needed, at most a day", value) : 0;
	case OPT_DEFAULT:
		return text_to_u64(value, &m->chosen) < 0 ? usage("--default %s: the number of an entry is needed", value) : 0;
	case OPT_CONSOLE:
		m->console = value;
		return strlen(value) <= CONSOLES_MAX && printable(value, " '\"\\$`") ? 0 : usage("--console %s: names as in ttyS0,115200;tty0 are needed", value);
	case OPT_OPTIONS:
		m->options = value;
		return strlen(value) <= OPTIONS_MAX && printable(value, "'\"\\$`") ? 0 : usage("--options %s: kernel options without quotes are needed", value);
	case OPT_CACERT:
		m->cacert = value;
		return 0;
	case OPT_KEY:
		return add_key(m, value);
	default:
		return add_entry(m, code, value);
	}
}

static int run_step(const struct tool *words, const char *name, struct err *e)
{
	struct tool t = *words;

	t.argv[2] = name;
	return tool_run(&t, e);
}

/* The folder of a kernel, by medium/kernel. */
static char *get_kernel(const char *kind, struct err *e)
{
	_cleanup_free_ char *script = resource_path("kernel", e);
	_cleanup_buf_ struct buf out = BUF_INIT(4096);
	struct tool t = {.package = "dash", .argv = {"sh", script, kind}, .output = &out};

	if (!script)
		return NULL;
	log_info("getting the %s kernel%s", kind, strcmp(kind, "small") ? "" : ": minutes of compiling, the first time");
	if (tool_run(&t, e) < 0)
		return NULL;
	return file_path("%.*s", (int)strcspn((const char *)out.data, "\n"), (const char *)out.data);
}

static char *write_part(const struct medium *m, const char *name, const struct buf *text, struct err *e)
{
	char *path = file_path("%s/%s", m->w.path, name);

	if (!path || file_save(AT_FDCWD, path, text->len ? text->data : (const void *)"", text->len, 0, e) < 0) {
		free(path);
		return NULL;
	}
	return path;
}

static char *word(const char *name, const char *value)
{
	return file_path("%s=%s", name, value);
}

static char *number(const char *name, uint64_t value)
{
	return file_path("%s=%llu", name, (unsigned long long)value);
}

enum { KERNEL = 11, WORDS }; /* the last word comes when the tools are known to be there */

static void free_words(char *(*words)[WORDS])
{
	for (size_t i = 0; i < WORDS; i++)
		free((*words)[i]);
}

static int make(struct medium *m, struct err *e)
{
	_cleanup_free_ char *script = resource_path("make-medium", e), *program = resource_path("parts/inetboot", NULL);
	_cleanup_free_ char *out = file_absolute(m->out), *entries = NULL, *keys = NULL, *kernel = NULL;
	_cleanup_(free_words) char *words[WORDS] = {0};
	struct tool t = {.package = "dash", .argv = {"sh", script, ""}};
	int r;

	if (!script)
		return -ENOENT;
	if (!program)
		return err_set(e, -ENOENT, "%s", PARTS_MISSING);
	if (!out)
		return err_set(e, -ENOMEM, "no path for %s", m->out);
	r = workspace_open(&m->w, e);
	if (r < 0)
		return r;
	entries = write_part(m, "entries", &m->entries, e);
	keys = write_part(m, "keys", &m->keys, e);
	if (!entries || !keys)
		return -EIO;
	words[0] = word("format", m->format);
	words[1] = word("parts", dirname(program));
	words[2] = word("work", m->w.path);
	words[3] = word("out", out);
	words[4] = word("entries", entries);
	words[5] = word("keys", keys);
	words[6] = number("timeout", m->timeout);
	words[7] = number("default", m->chosen);
	words[8] = word("console", m->console);
	words[9] = word("options", m->options);
	words[10] = word("cacert", m->cacert);
	for (size_t i = 0; i < KERNEL; i++)
		tool_args(&t, (const char *[]){words[i], NULL});
	r = run_step(&t, "needs", e);
	if (r < 0)
		return r;
	kernel = get_kernel(m->kernel, e);
	if (!kernel)
		return -EIO;
	words[KERNEL] = word("kernel", kernel);
	tool_args(&t, (const char *[]){words[KERNEL], NULL});
	log_info("making %s", m->out);
	r = run_step(&t, "initrd", e);
	return r < 0 ? r : run_step(&t, "medium", e);
}

static int report(const struct medium *m)
{
	char size[TEXT_SIZE_MAX];
	struct stat st;

	if (stat(m->out, &st) < 0 || S_ISDIR(st.st_mode)) {
		printf("%s: kernel, initrd and menu\n", m->out);
		return EXIT_OK;
	}
	text_size(size, (uint64_t)st.st_size);
	printf("%s: %s\n", m->out, size);
	return EXIT_OK;
}

static int run(struct medium *m)
{
	struct err e = ERR_INIT;
	int r;

	cancel_on(SIGINT);
	cancel_on(SIGTERM);
	cancel_on(SIGHUP);
	r = make(m, &e);
	workspace_close(&m->w);
	if (r < 0)
		err_add(&e, "cannot make %s", m->out);
	return r < 0 ? cli_fail(&e) : report(m);
}

int cmd_medium(int argc, char **argv)
{
	struct medium m = {
		.format = "iso",
		.kernel = "stock",
		.console = "ttyS0,115200;tty0",
		.options = "",
		.cacert = "/etc/ssl/certs/ca-certificates.crt",
		.entries = BUF_INIT(ENTRIES_MAX * (TITLE_MAX + LINK_LEN_MAX + 16)),
		.keys = BUF_INIT(65536),
		.timeout = 10,
		.chosen = 1,
		.w = WORKSPACE_INIT,
	};
	int r = cli_options(argc, argv, "h", options, help, take_option, &m);
	if (r >= 0)
		return r;
	if (argc - optind != 1)
		return cli_usage("medium", "exactly one file or folder to write is needed");
	if (!m.count)
		return cli_usage("medium", "at least one --entry, --catalog or --script is needed");
	if (!m.chosen || m.chosen > m.count)
		return cli_usage("medium", "--default %llu: there are entries 1 to %zu", (unsigned long long)m.chosen, m.count);
	m.out = argv[optind];
	r = run(&m);
	buf_free(&m.entries);
	buf_free(&m.keys);
	return r;
}
