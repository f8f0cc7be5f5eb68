/* inetboot profile: recorded boots become a boot pack; see publish/profile.h. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"
#include "format/link.h"
#include "publish/pack_maker.h"
#include "publish/profile.h"
#include "publish/publish.h"
#include "publish/traces.h"

static const char help[] =
	"Usage: inetboot profile STORE/NAME TRACE... --key FILE [OPTION]...\n\n"
	"Makes a boot pack of what recorded boots of the image NAME read first (`inetboot boot "
	"--record TRACE`, or mount), and signs\n"
	"a new version of the image that names it. A boot then fetches it in one stream, ahead of "
	"what it reads.\n\n"
	"Traces of several boots, also on different engines, are merged. They must be of the "
	"newest version's disk.\n\n"
	"  -k, --key FILE       secret key to sign with\n"
	"  -l, --level N        zstd level, 1 to 19 (default: 19)\n"
	"      --least N        leave out what fewer than N of the traces have read (default: 1)\n"
	"  -h, --help           show this\n\n"
	"Example: inetboot profile store/debian boot1.trace boot2.trace --key my.key\n";

enum { OPT_LEAST = 0x100 };

static const struct option options[] = {
	{"key", required_argument, NULL, 'k'},
	{"level", required_argument, NULL, 'l'},
	{"least", required_argument, NULL, OPT_LEAST},
	{"help", no_argument, NULL, 'h'},
	{0},
};

int cli_profile(const struct profile_options *o)
{
	struct profile_result result;
	char size[TEXT_SIZE_MAX], pages[TEXT_SIZE_MAX];
	struct err e = ERR_INIT;

	if (profile_image(o, &result, &e) < 0) {
		err_add(&e, "cannot make a boot pack for %s/%s", o->store, o->name);
		return cli_fail(&e);
	}
	text_size(size, result.profile.size);
	text_size(pages, result.profile.pages * PACK_PAGE);
	printf("%s version %" PRIu64 ": boot pack of %s for %s of its disk\n", o->name,
		result.version, size, pages);
	return EXIT_OK;
}

static int run(const char *where, struct profile_options *o)
{
	_cleanup_(link_free) struct link link = {0};
	struct err e = ERR_INIT;
	int r = link_parse(&link, where, &e);

	if (!r && (link.remote || !link.name[0]))
		r = err_set(&e, -EINVAL,
			"%s is no image in a store on this machine: make the pack where you "
			"publish, and copy the store",
			where);
	if (r < 0)
		return cli_fail(&e);
	o->store = link.store;
	o->name = link.name;
	return cli_profile(o);
}

int cmd_profile(int argc, char **argv)
{
	struct profile_options o = {.level = PACK_LEVEL_DEFAULT, .least = 1};
	uint64_t n;
	int c;

	while ((c = getopt_long(argc, argv, "hk:l:", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			fputs(help, stdout);
			return EXIT_OK;
		case 'k':
			o.key = optarg;
			break;
		case 'l':
			if (text_to_u64(optarg, &n) < 0 || !n || n > PUBLISH_LEVEL_MAX)
				return cli_usage("profile", "--level %s: it must be 1 to %d",
					optarg, PUBLISH_LEVEL_MAX);
			o.level = (int)n;
			break;
		case OPT_LEAST:
			if (text_to_u64(optarg, &n) < 0 || !n || n > TRACES_MAX)
				return cli_usage("profile", "--least %s: it must be 1 to %d",
					optarg, TRACES_MAX);
			o.least = (size_t)n;
			break;
		default:
			return cli_bad_option("profile", argv);
		}
	}
	if (argc - optind < 2 || !o.key)
		return cli_usage("profile", "STORE/NAME, at least one TRACE and --key are needed");
	if (argc - optind - 1 > TRACES_MAX)
		return cli_usage("profile", "more than %d traces", TRACES_MAX);
	o.traces = (const char **)argv + optind + 1;
	o.trace_count = (size_t)(argc - optind - 1);
	return run(argv[optind], &o);
}
