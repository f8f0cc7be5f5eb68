/* inetboot rebase: a named machine, and what it wrote, on another version of its image. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "cli/link_version.h"
#include "disk/link_at.h"
#include "machine/named.h"

static const char help[] =
	"Usage: inetboot rebase [OPTIONS] NAME\n\n"
	"Takes a machine to the newest version of its image. Files that it wrote stay as they are, and hide the new version's; all others\n"
	"are the new version's. What two versions of a program keep in files of their own, such as a package manager's list, is not merged.\n"
	"A machine whose writes are blocks (--writes blocks) cannot be moved: they belong to the blocks below.\n\n"
	"  --to N               to this version, older or newer\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP;

enum { OPT_TO = OPT_COMMAND };

static bool has_writes(const struct named *n)
{
	_cleanup_free_ char *overlay = file_path("%s/overlay", n->dir);

	return !overlay || !access(overlay, F_OK);
}

/* The same disk under another number (a version that got a boot pack, say) fits any writes. */
static int may_move(const struct named *n, const char *name, const struct named_settings *s, const struct link_version *to, struct err *e)
{
	if (s->writes != WRITES_BLOCKS || !strcmp(s->root, to->root) || !has_writes(n))
		return 0;
	return err_set(e, -EINVAL,
		"the machine %s keeps its writes as blocks, which belong to the blocks of version %" PRIu64 " below them and would be rubbish over those of version %" PRIu64
		": publish them as a version of their own with `inetboot commit`, or start a new machine with --writes files",
		name, s->version, to->version);
}

static int move(const struct named *n, const char *name, uint64_t version, const struct image_options *o, struct err *e)
{
	struct named_settings s;
	struct link_version to;
	_cleanup_free_ char *link = NULL;
	uint64_t before;
	int r = named_load(n->dir, &s, e);

	if (!r && !s.version)
		r = err_set(e, -EINVAL, "the machine %s boots %s, which has no versions", name, s.link);
	if (!r) {
		link = link_at(s.link, true, version, e);
		r = link ? link_version(link, o, &to, e) : -EINVAL;
	}
	if (!r)
		r = may_move(n, name, &s, &to, e);
	if (!r) {
		before = s.version;
		s.version = to.version;
		strcpy(s.root, to.root);
		r = named_save(n, &s, e);
		if (!r && before == to.version)
			log_info("%s is on version %" PRIu64 " already", name, before);
		else if (!r)
			log_info("%s is on version %" PRIu64 " now; it was on %" PRIu64, name, to.version, before);
	}
	named_settings_free(&s);
	return r;
}

static int take_version(void *context, int code, char *value)
{
	uint64_t *version = context;

	if (text_to_u64(value, version) < 0 || !*version)
		return cli_usage("rebase", "--to takes a version's number, not '%s'", value);
	return 0;
}

int cmd_rebase(int argc, char **argv)
{
	static const struct option options[] = {
		{"to", required_argument, NULL, OPT_TO}, {"help", no_argument, NULL, 'h'}, IMAGE_LONG_OPTIONS, {0}};
	struct image_option_values v;
	struct err e = ERR_INIT;
	struct named n;
	uint64_t version = 0;
	int r;

	r = image_options_take(&v, argc, argv, "h", options, help, take_version, &version);
	if (r >= 0)
		return r;
	if (argc - optind != 1)
		return cli_usage("rebase", "exactly one machine's name is needed: `inetboot ps` lists them");
	image_options_find_cache(&v);
	if (named_open(&n, argv[optind], false, &e) < 0)
		return cli_fail(&e);
	r = move(&n, argv[optind], version, &v.o, &e);
	named_close(&n);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}
