/* inetboot gc: see publish/gc.h for what it does. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "cli/cli.h"
#include "publish/gc.h"

static const char help[] = "Usage: inetboot gc STORE [OPTION]...\n\n"
			   "Removes from a store the blocks that no version of any image needs any "
			   "more, and what interrupted runs of\n"
			   "`inetboot publish` left. Waits until nobody publishes. If any manifest "
			   "or index cannot be read, nothing is removed.\n\n"
			   "  --keep N       first remove all but the N newest versions of each "
			   "image (default: keep all)\n"
			   "  --keep-days D  with --keep: keep what was the newest version within the last D days, too (default: 7)\n"
			   "  --dry-run      only say what would be removed\n"
			   "  -h, --help     show this\n\n"
			   "Readers of a version that is removed while they use it lose their "
			   "disk: keep enough versions, and days, for those who run old ones.\n\n"
			   "Example:\n  inetboot gc /srv/www/store --keep 3 --dry-run\n";

#define DAY 86400 /* seconds */
#define DAYS_DEFAULT 7
#define DAYS_MAX 36525

enum { OPT_KEEP = 0x100, OPT_KEEP_DAYS, OPT_DRY_RUN };

static const struct option options[] = {
	{"keep", required_argument, NULL, OPT_KEEP},
	{"keep-days", required_argument, NULL, OPT_KEEP_DAYS},
	{"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static int run(const char *store, const struct gc_options *o)
{
	char removed[TEXT_SIZE_MAX], kept[TEXT_SIZE_MAX];
	struct gc_result result;
	struct err e = ERR_INIT;

	if (gc_store(store, o, &result, &e) < 0) {
		err_add(&e, "cannot collect garbage in %s", store);
		return cli_fail(&e);
	}
	text_size(removed, result.bytes_removed);
	text_size(kept, result.bytes_kept);
	printf("%s %" PRIu64 " versions, %" PRIu64 " blocks (%s), %" PRIu64
	       " temporary files; %" PRIu64 " blocks (%s) stay\n",
		o->dry_run ? "would remove" : "removed", result.versions_removed,
		result.blocks_removed, removed, result.other_removed, result.blocks_kept, kept);
	return EXIT_OK;
}

int cmd_gc(int argc, char **argv)
{
	struct gc_options o = {0};
	uint64_t days = DAYS_DEFAULT;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			fputs(help, stdout);
			return EXIT_OK;
		case OPT_KEEP:
			if (text_to_u64(optarg, &o.keep) < 0 || !o.keep)
				return cli_usage(
					"gc", "--keep %s: it must be a number from 1 on", optarg);
			break;
		case OPT_KEEP_DAYS:
			if (text_to_u64(optarg, &days) < 0 || days > DAYS_MAX)
				return cli_usage("gc", "--keep-days %s: it must be a number of days, 0 to %d", optarg, DAYS_MAX);
			break;
		case OPT_DRY_RUN:
			o.dry_run = true;
			break;
		default:
			return cli_bad_option("gc", argv);
		}
	}
	if (argc - optind != 1)
		return cli_usage("gc", "one STORE is needed");
	o.keep_seconds = days * DAY;
	return run(argv[optind], &o);
}
