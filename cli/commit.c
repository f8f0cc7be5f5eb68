/* inetboot commit: what a guest wrote becomes the next version; see publish/commit.h. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "machine/named.h"
#include "publish/commit.h"
#include "publish/pipeline.h"
#include "publish/publish.h"

static const char help[] =
	"Usage: inetboot commit OVERLAY|NAME STORE --key FILE [OPTION]...\n\n"
	"Publishes the disk of an image with what a guest wrote over it as the image's next "
	"version. OVERLAY is the file of\n"
	"`inetboot boot --overlay`, NAME that of a machine with `--writes blocks`; it stays as it is. STORE is the folder with the image. Only "
	"what was written is read and\n"
	"compressed: it takes as long as that, not as long as the disk is large.\n\n"
	"The new version has the boot entries, mirrors and all else of the one before, and a boot "
	"pack of the same pages.\n"
	"The overlay belongs to the old version (boot it as NAME@N); start the new one with a new "
	"overlay.\n\n"
	"  -k, --key FILE       secret key to sign with: that of the versions before\n"
	"  -b, --base LINK      the image, or version, over which it was written (default: what "
	"the overlay says; those of older\n"
	"                       programs, and of User-Mode Linux itself, do not)\n"
	"      --force          also when the store has a newer version by now: that one stays, as "
	"NAME@N, but what is new in it\n"
	"                       is not in the version that is made\n"
	"      --no-pack        make no boot pack: it is compressed slowly\n"
	"  -l, --level N        zstd level, 1 to 19 (default: 9)\n"
	"  -j, --jobs N         compressing threads (default: one per processor)\n"
	"      --base-url URL   where the store will be on the web, to print the link with\n"
	"  -h, --help           show this\n\n"
	"Example: inetboot boot --overlay my.cow store/debian\n"
	"         inetboot commit my.cow store --key my.key\n";

enum { OPT_FORCE = 0x100, OPT_BASE_URL, OPT_NO_PACK };

static const struct option options[] = {
	{"key", required_argument, NULL, 'k'},
	{"base", required_argument, NULL, 'b'},
	{"force", no_argument, NULL, OPT_FORCE},
	{"no-pack", no_argument, NULL, OPT_NO_PACK},
	{"level", required_argument, NULL, 'l'},
	{"jobs", required_argument, NULL, 'j'},
	{"base-url", required_argument, NULL, OPT_BASE_URL},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static int take_option(void *context, int code, char *value)
{
	struct commit_options *o = context;
	uint64_t n;

	switch (code) {
	case 'k':
		o->key = value;
		return 0;
	case 'b':
		o->base = value;
		return 0;
	case OPT_FORCE:
		o->force = true;
		return 0;
	case OPT_NO_PACK:
		o->no_pack = true;
		return 0;
	case 'l':
		if (text_to_u64(value, &n) < 0 || !n || n > PUBLISH_LEVEL_MAX)
			return cli_usage("commit", "--level %s: it must be 1 to %d", value,
				PUBLISH_LEVEL_MAX);
		o->level = (int)n;
		return 0;
	case 'j':
		if (text_to_u64(value, &n) < 0 || !n || n > PIPELINE_JOBS_MAX)
			return cli_usage("commit", "--jobs %s: it must be 1 to %d", value,
				PIPELINE_JOBS_MAX);
		o->jobs = (unsigned)n;
		return 0;
	default:
		return cli_base_url("commit", value, &o->base_url);
	}
}

static void print_result(const struct commit_result *r, uint64_t ms)
{
	char changed[TEXT_SIZE_MAX], fresh[TEXT_SIZE_MAX], scanned[TEXT_SIZE_MAX];

	text_size(changed, r->changed);
	text_size(scanned, r->scanned);
	text_size(fresh, r->blocks.new_bytes);
	if (r->unchanged)
		printf("%s version %" PRIu64 " (unchanged): nothing was written that differs\n",
			r->name, r->version);
	else
		printf("%s version %" PRIu64 ", made from version %" PRIu64 ": %s written\n",
			r->name, r->version, r->base_version, changed);
	printf("new: %s in %" PRIu64 " of %" PRIu64 " blocks; %s of the disk looked at; %" PRIu64
	       ".%" PRIu64 " seconds\n",
		fresh, r->blocks.new_blocks, r->blocks.blocks, scanned, ms / 1000, ms % 1000 / 100);
	printf("%s\n", r->link);
	fflush(stdout);
	if (r->lost_pack)
		log_info("version %" PRIu64 " has a boot pack and this one has none: `inetboot profile` makes one",
			r->base_version);
}

static int run(const char *overlay, const struct commit_options *o)
{
	struct commit_result result;
	struct err e = ERR_INIT;
	uint64_t start = clock_ms();

	cancel_on(SIGINT);
	cancel_on(SIGTERM);
	if (commit_overlay(overlay, o, &result, &e) < 0) {
		err_add(&e, "cannot commit %s", overlay);
		return cli_fail(&e);
	}
	print_result(&result, clock_ms() - start);
	free(result.link);
	return EXIT_OK;
}

static int is_committable(const char *name, const struct named_settings *s, struct err *e)
{
	if (!s->engine || !strcmp(s->engine, "uml"))
		return 0;
	return err_set(e, -EINVAL, "the machine %s is one of --engine %s, whose overlays are of another form: only those of User-Mode Linux are published so far", name, s->engine);
}

/* The overlay of a named machine, which must not be started meanwhile. */
static int run_named(const char *name, const struct commit_options *o)
{
	struct named_settings s = {0};
	struct named n = NAMED_INIT;
	struct err e = ERR_INIT;
	char *overlay = NULL;
	int status;

	if (!named_open(&n, name, false, &e) && !named_load(n.dir, &s, &e) && !is_committable(name, &s, &e)) {
		if (s.writes != WRITES_BLOCKS)
			err_set(&e, -EINVAL, "the machine %s keeps its writes as %s; what can be published are blocks: a machine that is made with --writes blocks",
				name, s.writes == WRITES_FILES ? "files" : "nothing");
		else
			overlay = file_path("%s/overlay", n.dir);
	}
	status = overlay ? run(overlay, o) : cli_fail(&e);
	free(overlay);
	named_settings_free(&s);
	named_close(&n);
	return status;
}

int cmd_commit(int argc, char **argv)
{
	pid_t pid;
	struct commit_options o = {.level = PUBLISH_LEVEL_DEFAULT};
	int r;

	r = cli_options(argc, argv, "hk:b:l:j:", options, help, take_option, &o);
	if (r >= 0)
		return r;
	if (argc - optind != 2)
		return cli_usage("commit", "OVERLAY and STORE are needed");
	if (!o.key)
		return cli_usage("commit", "--key is needed");
	o.store = argv[optind + 1];
	if (access(argv[optind], F_OK) < 0 && !named_find(argv[optind], &pid, NULL))
		return run_named(argv[optind], &o);
	return run(argv[optind], &o);
}
