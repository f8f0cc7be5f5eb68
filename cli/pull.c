/* inetboot pull: everything into the cache, so that the image boots without a network. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "disk/confine.h"
#include "disk/copies.h"
#include "disk/pack_fetch.h"
#include "disk/pull.h"
#include "disk/unpacked.h"

#define MORE_MOST (1u << 20) /* bytes more, and an eighth: a block comes again where the cache is in trouble */

static const char help[] =
	"Usage: inetboot pull [OPTIONS] LINK\n\n"
	"Fetches all blocks of an image into the cache; what is there already is checked and not fetched again. After that it\n"
	"boots without a network.\n\n"
	"  --only-boot          fetch just what a recorded boot of it needs: its publisher must have made a boot pack. What a boot\n"
	"                       reads besides, and what is used later, needs the network\n"
	"  --unpack             keep the disk as a plain file, too: boot and mount then read that, as fast as any local file\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot pull --cache /media/usb/knxblock 'http://127.0.0.1:8080/debian#RWQ...'\n";

static int check_room(const struct image *image, const struct image_options *o, bool only_boot, struct err *e)
{
	if (o->no_cache)
		return err_set(e, -EINVAL, "there is nothing to pull into with --no-cache");
	if (!image->in_store || !image->cache)
		return err_set(e, -EINVAL, "only images in a store on a web server have blocks to pull");
	if (only_boot && !image->manifest.profile.size)
		return err_set(e, -ENODATA, "its publisher has recorded no boot of it (`inetboot profile`): pull all of it, without --only-boot");
	return only_boot ? 0 : pull_check_room(image, e);
}

/* That its blocks may take: the manifest's number was compared with the cache's size. */
static uint64_t most_bytes(const struct image *image, const struct image_options *o)
{
	uint64_t stored = image->manifest.stored;

	return stored ? stored + stored / 8 + MORE_MOST : o->cache_size;
}

/* A read does without a cache that cannot be written to; a pull is for nothing then. */
static int check_kept(const struct image *image, const struct pull_result *result, struct err *e)
{
	struct cache_stats s;

	cache_stats(image->cache, &s);
	if (s.write_errors || (result->fetched && !s.stores))
		return err_set(e, -EIO, "not all blocks could be written to %s: is the disk full, or the folder not yours to write to?",
			cache_dir(image->cache));
	return 0;
}

static int pull(struct image *image, const struct image_options *o, bool only_boot, struct pull_result *result, struct err *e)
{
	struct pack pack = {0};
	int r = only_boot ? pack_fetch_head(&pack, &image->manifest.profile, image->manifest.image.size, image->origin, e) : 0;

	if (!r)
		r = pull_image(image, &(struct pull_options){.what = "pulling", .only = only_boot ? &pack : NULL, .most = most_bytes(image, o)},
			result, e);
	pack_free(&pack);
	return r;
}

int cmd_pull(int argc, char **argv)
{
	static int only_boot, unpack;
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'}, {"only-boot", no_argument, &only_boot, 1}, {"unpack", no_argument, &unpack, 1}, IMAGE_LONG_OPTIONS, {0}};
	struct image_option_values v;
	struct pull_result result = {0};
	struct image *image = NULL;
	struct err e = ERR_INIT;
	char size[TEXT_SIZE_MAX];
	int r;

	r = image_options_parse(&v, argc, argv, options, help, 1, "exactly one link is needed");
	if (r >= 0)
		return r;
	r = image_confine(argv[optind], &v.o, &e);
	if (!r)
		r = image_open(&image, argv[optind], &v.o, &e);
	if (!r)
		r = check_room(image, &v.o, only_boot, &e);
	if (!r)
		r = pull(image, &v.o, only_boot, &result, &e);
	if (!r)
		r = check_kept(image, &result, &e);
	if (!r && image->link.has_key && !image->link.version)
		copy_mark(image->cache, &image->link.key, &image->manifest, only_boot);
	if (!r && unpack)
		r = image_open_disk(image, &e);
	if (!r && unpack)
		r = unpacked_make(image, &e);
	if (r < 0) {
		err_add(&e, "cannot pull %s", argv[optind]);
	} else {
		text_size(size, result.bytes);
		printf("%s version %llu%s is in %s: %llu chunks, %s, %llu of them fetched now\n", image->manifest.name,
			(unsigned long long)image->manifest.version, only_boot ? ", as far as its boot needs it," : "", cache_dir(image->cache), (unsigned long long)result.chunks, size,
			(unsigned long long)result.fetched);
	}
	image_close(image);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}
