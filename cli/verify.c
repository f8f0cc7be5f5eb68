/* inetboot verify: a whole store in a folder (publish/verify.h), or one image by its link
 * (disk/pull.h), as a reader gets it. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "disk/confine.h"
#include "disk/pull.h"
#include "publish/pipeline.h"
#include "publish/verify.h"

static const char help[] =
	"Usage: inetboot verify STORE | LINK [OPTION]...\n\n"
	"For a STORE, a folder: reads every manifest, index node and block in it and checks them "
	"against their names; says what is\n"
	"bad or missing, and which images need it. For a LINK: fetches all blocks of that image "
	"from its server, without using\n"
	"the cache, and checks them and the manifest's signature. Ends with status 1 if anything "
	"is wrong.\n\n"
	"  -j, --jobs N         threads for a STORE (default: one per processor)\n"
	"  -h, --help           show this\n\n" IMAGE_OPTIONS_HELP
	"\nExamples:\n  inetboot verify /srv/www/store\n  inetboot verify "
	"'https://example.org/store/debian#RWQ...'\n";

static const struct option options[] = {
	{"jobs", required_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	IMAGE_LONG_OPTIONS,
	{0},
};

static bool is_store(const char *path)
{
	_cleanup_free_ char *blocks = file_path("%s/blocks", path);
	struct stat st;

	return blocks && !stat(blocks, &st) && S_ISDIR(st.st_mode);
}

static int verify_folder(const char *path, unsigned jobs)
{
	struct verify_result result;
	struct err e = ERR_INIT;
	char size[TEXT_SIZE_MAX];

	if (verify_store(path, jobs, &result, &e) < 0) {
		err_add(&e, "cannot verify %s", path);
		return cli_fail(&e);
	}
	text_size(size, result.bytes);
	printf("%s: %" PRIu64 " manifests, %" PRIu64 " of them bad; %" PRIu64
	       " blocks (%s), %" PRIu64 " of them bad or missing\n",
		path, result.manifests, result.bad_manifests, result.blocks, size,
		result.bad_blocks);
	return result.bad_manifests || result.bad_blocks ? EXIT_FAILED : EXIT_OK;
}

static int verify_link(const char *link, struct image_options *o)
{
	struct pull_result result = {0};
	struct image *image = NULL;
	struct err e = ERR_INIT;
	char size[TEXT_SIZE_MAX];
	int r;

	o->no_cache = true;
	r = image_confine(link, o, &e);
	if (!r)
		r = image_open(&image, link, o, &e);
	if (!r && !image->in_store)
		r = err_set(&e, -EINVAL,
			"it is no image in a store: there is nothing to check it against");
	if (!r)
		r = pull_image(image, &(struct pull_options){.what = "verifying", .go_on = true}, &result, &e);
	if (r < 0) {
		err_add(&e, "cannot verify %s", link);
		image_close(image);
		return cli_fail(&e);
	}
	text_size(size, result.bytes);
	printf("%s version %" PRIu64 "%s: %" PRIu64 " chunks (%s), %" PRIu64
	       " of them bad or missing\n",
		image->manifest.name, image->manifest.version,
		image->verified ? ", signature good" : ", signature not checked", result.chunks,
		size, result.bad);
	image_close(image);
	return result.bad ? EXIT_FAILED : EXIT_OK;
}

static int take_jobs(void *context, int code, char *value)
{
	uint64_t *jobs = context;

	if (text_to_u64(value, jobs) < 0 || !*jobs || *jobs > PIPELINE_JOBS_MAX)
		return cli_usage("verify", "--jobs %s: it must be 1 to %d", value, PIPELINE_JOBS_MAX);
	return 0;
}

int cmd_verify(int argc, char **argv)
{
	struct image_option_values v;
	uint64_t jobs = 0;
	int r;

	r = image_options_take(&v, argc, argv, "hj:", options, help, take_jobs, &jobs);
	if (r >= 0)
		return r;
	if (argc - optind != 1)
		return cli_usage("verify", "one STORE or LINK is needed");
	return is_store(argv[optind]) ? verify_folder(argv[optind], (unsigned)jobs)
				      : verify_link(argv[optind], &v.o);
}
