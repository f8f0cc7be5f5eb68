/* Making boot media, for `inetboot medium` and `inetboot install`: see medium_options.h. */
#include "cli/medium_options.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "format/link.h"
#include "format/signature.h"
#include "machine/resources.h"

#define ENTRIES_MAX 64
#define CONSOLES_MAX 128 /* bytes */
#define OPTIONS_MAX 1024 /* bytes; of a kernel's command line half */
#define MODULES_MAX 4096 /* bytes */
#define MODULE_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
#define TITLE_MAX 64
#define PARTS_MISSING                                                                              \
	"the medium's own programs are not there: `make medium-parts` in the source builds them"

static bool printable(const char *text, const char *without)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127 || strchr(without, *p))
			return false;
	return true;
}

/* What stands behind TITLE= must be fit for a kernel's command line. */
static int check_target(int code, const char *target, struct err *e)
{
	_cleanup_(link_free) struct link l = {0};

	if (!cli_is_url(target) || !printable(target, " '\"\\\t$`"))
		return err_set(e, -EINVAL,
			"%s is no http or https URL, or has blanks or quotes in it", target);
	if (code != OPT_MEDIUM_ENTRY)
		return 0;
	if (link_parse(&l, target, e) < 0)
		return -EINVAL;
	return l.name[0] ? 0 : err_set(e, -EINVAL, "%s names no image of a store", target);
}

static int add_entry(struct medium *m, int code, char *value)
{
	const char *word = code == OPT_MEDIUM_ENTRY    ? "httpfuse"
			   : code == OPT_MEDIUM_SCRIPT ? "iscript"
						       : "catalog";
	char *target = strchr(value, '=');
	struct err e = ERR_INIT;

	if (!target || target == value || (size_t)(target - value) > TITLE_MAX)
		return cli_usage(m->command,
			"TITLE=LINK is needed, with a title of up to 64 bytes, not '%s'", value);
	*target++ = 0;
	if (!printable(value, "\t"))
		return cli_usage(m->command, "a title must be plain text, not '%s'", value);
	if (check_target(code, target, &e) < 0)
		return cli_usage(m->command, "%s", e.text);
	if (code != OPT_MEDIUM_SCRIPT && !strchr(target, '#'))
		log_warning(
			"%s has no key (#RWQ...): whoever is on the way can change what is started",
			target);
	if (++m->count > ENTRIES_MAX ||
		buf_printf(&m->entries, "%s\t%s=%s\n", value, word, target) < 0)
		return cli_usage(m->command, "more entries than a medium has, at %s", value);
	return 0;
}

static int add_key(struct medium *m, const char *value)
{
	struct public_key key;

	if (public_key_decode(&key, value, strlen(value), NULL) < 0)
		return cli_usage(
			m->command, "--key %s: no public key as `inetboot key` prints it", value);
	return buf_printf(&m->keys, "%s\n", value) < 0
		       ? cli_usage(m->command, "more keys than a medium has, at %s", value)
		       : 0;
}

static int take_option(struct medium *m, int code, char *value)
{
	switch (code) {
	case OPT_MEDIUM_KERNEL:
		m->kernel = value;
		return strcmp(value, "stock") && strcmp(value, "small")
			       ? cli_usage(m->command,
					 "there is no kernel %s: it must be stock or small", value)
			       : 0;
	case OPT_MEDIUM_MODULES:
		m->modules = value;
		return value[strspn(value, MODULE_LETTERS ",")] || strlen(value) > MODULES_MAX
			       ? cli_usage(m->command,
					 "--modules %s: names of modules with commas between them are needed",
					 value)
			       : 0;
	case OPT_MEDIUM_TIMEOUT:
		return text_to_u64(value, &m->timeout) < 0 || m->timeout > 86400
			       ? cli_usage(m->command,
					 "--timeout %s: seconds are needed, at most a day", value)
			       : 0;
	case OPT_MEDIUM_DEFAULT:
		return text_to_u64(value, &m->chosen) < 0
			       ? cli_usage(m->command,
					 "--default %s: the number of an entry is needed", value)
			       : 0;
	case OPT_MEDIUM_CONSOLE:
		m->console = value;
		return strlen(value) <= CONSOLES_MAX && printable(value, " '\"\\$`")
			       ? 0
			       : cli_usage(m->command,
					 "--console %s: names as in ttyS0,115200;tty0 are needed",
					 value);
	case OPT_MEDIUM_OPTIONS:
		m->options = value;
		return strlen(value) <= OPTIONS_MAX && printable(value, "'\"\\$`")
			       ? 0
			       : cli_usage(m->command,
					 "--options %s: kernel options without quotes are needed",
					 value);
	case OPT_MEDIUM_CACERT:
		m->cacert = value;
		return 0;
	case OPT_MEDIUM_KEY:
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
static char *get_kernel(const char *kind, const char *modules, struct err *e)
{
	_cleanup_free_ char *script = resource_path("kernel", e);
	_cleanup_buf_ struct buf out = BUF_INIT(4096);
	struct tool t = {.package = "dash", .argv = {"sh", script, kind, modules}, .output = &out};

	if (!script)
		return NULL;
	log_info("getting the %s kernel%s", kind,
		strcmp(kind, "small") ? "" : ": minutes of compiling, the first time");
	if (tool_run(&t, e) < 0)
		return NULL;
	return file_path(
		"%.*s", (int)strcspn((const char *)out.data, "\n"), (const char *)out.data);
}

static char *write_part(
	const struct medium *m, const char *name, const struct buf *text, struct err *e)
{
	char *path = file_path("%s/%s", m->w.path, name);

	if (!path || file_save(AT_FDCWD, path, text->len ? text->data : (const void *)"", text->len,
			     0, e) < 0) {
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

enum { KERNEL = 12, WORDS }; /* the last word comes when the tools are known to be there */

static void free_words(char *(*words)[WORDS])
{
	for (size_t i = 0; i < WORDS; i++)
		free((*words)[i]);
}

static int make(struct medium *m, struct err *e)
{
	_cleanup_free_ char *script = resource_path("make-medium", e),
			    *program = resource_path("parts/inetboot", NULL);
	_cleanup_free_ char *out = file_absolute(m->out), *entries = NULL, *keys = NULL,
			    *kernel = NULL;
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
	words[11] = word("modules", m->modules);
	for (size_t i = 0; i < KERNEL; i++)
		tool_args(&t, (const char *[]){words[i], NULL});
	for (size_t i = 0; i < sizeof(m->more) / sizeof(m->more[0]); i++)
		tool_args(&t, (const char *[]){m->more[i], NULL});
	r = run_step(&t, "needs", e);
	if (r < 0)
		return r;
	kernel = get_kernel(m->kernel, m->modules, e);
	if (!kernel)
		return -EIO;
	words[KERNEL] = word("kernel", kernel);
	tool_args(&t, (const char *[]){words[KERNEL], NULL});
	log_info("making %s", m->out);
	r = run_step(&t, "initrd", e);
	return r < 0 ? r : run_step(&t, "medium", e);
}

int medium_make(struct medium *m, struct err *e)
{
	int r;

	cancel_on(SIGINT);
	cancel_on(SIGTERM);
	cancel_on(SIGHUP);
	r = make(m, e);
	workspace_close(&m->w);
	return r;
}

struct taking {
	struct medium *m;
	cli_take own;
	void *context;
};

static int take(void *context, int code, char *value)
{
	struct taking *t = context;

	return code < OPT_MEDIUM_OWN ? take_option(t->m, code, value)
				     : t->own(t->context, code, value);
}

int medium_take(struct medium *m, int argc, char **argv, const struct option *options,
	const char *help, cli_take own, void *context, const char *needed)
{
	struct taking t = {m, own, context};
	int r;

	*m = (struct medium){
		.command = argv[0],
		.format = "iso",
		.kernel = "stock",
		.modules = "",
		.console = "ttyS0,115200;tty0",
		.options = "",
		.cacert = "/etc/ssl/certs/ca-certificates.crt",
		.entries = BUF_INIT(ENTRIES_MAX * (TITLE_MAX + LINK_LEN_MAX + 16)),
		.keys = BUF_INIT(65536),
		.timeout = 10,
		.chosen = 1,
		.w = WORKSPACE_INIT,
	};
	r = cli_options(argc, argv, "h", options, help, take, &t);
	if (r >= 0)
		return r;
	if (argc - optind != 1)
		return cli_usage(m->command, "%s", needed);
	if (!m->count)
		return cli_usage(
			m->command, "at least one --entry, --catalog or --script is needed");
	if (*m->modules && strcmp(m->kernel, "stock"))
		return cli_usage(m->command, "--modules is for --kernel stock: the small one takes none");
	if (!m->chosen || m->chosen > m->count)
		return cli_usage(m->command, "--default %llu: there are entries 1 to %zu",
			(unsigned long long)m->chosen, m->count);
	m->out = argv[optind];
	return -1;
}

void medium_free(struct medium *m)
{
	buf_free(&m->entries);
	buf_free(&m->keys);
}
