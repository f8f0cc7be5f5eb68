/* The options of whoever opens an image, as text: one table for command lines and for the parameters of an NBD server. Values are
 * borrowed from who gives them. */
#ifndef DISK_IMAGE_OPTIONS_H
#define DISK_IMAGE_OPTIONS_H

#include <getopt.h>
#include <limits.h>

#include "disk/image.h"

#define IMAGE_LISTS_MAX 32 /* mirrors and headers each */
#define CACHE_AUTO "auto"  /* the value of --cache that is no folder's path */

struct image_option_values {
	struct image_options o;
	const char *mirrors[IMAGE_LISTS_MAX + 1];
	const char *headers[IMAGE_LISTS_MAX + 1];
	const char *record;
	char found_cache[PATH_MAX]; /* what --cache auto stands for */
};

enum image_option_code {
	OPT_CACHE = 0x100,
	OPT_CACHE_SIZE,
	OPT_NO_CACHE,
	OPT_INSECURE,
	OPT_STRICT,
	OPT_MIRROR,
	OPT_PROXY,
	OPT_CACERT,
	OPT_HEADER,
	OPT_NETRC,
	OPT_NET_TIMEOUT,
	OPT_MEMORY_LIMIT,
	OPT_RECORD, /* with an argument; of the commands that have RECORD_LONG_OPTION */
	OPT_COMMAND, /* a command's own options without a letter start here */
};

/* For a table of getopt_long(). */
#define IMAGE_LONG_OPTIONS                                                                         \
	{"cache", required_argument, NULL, OPT_CACHE},                                             \
	{"cache-size", required_argument, NULL, OPT_CACHE_SIZE},                                   \
	{"no-cache", no_argument, NULL, OPT_NO_CACHE}, {"insecure", no_argument, NULL, OPT_INSECURE}, \
	{"strict", no_argument, NULL, OPT_STRICT},                                                 \
	{"mirror", required_argument, NULL, OPT_MIRROR}, {"proxy", required_argument, NULL, OPT_PROXY}, \
	{"cacert", required_argument, NULL, OPT_CACERT}, {"header", required_argument, NULL, OPT_HEADER}, \
	{"netrc", no_argument, NULL, OPT_NETRC},                                                   \
	{"net-timeout", required_argument, NULL, OPT_NET_TIMEOUT},                                 \
	{"timeout", required_argument, NULL, OPT_NET_TIMEOUT}, /* a command's own goes first: it is the one that counts */ \
	{"memory-limit", required_argument, NULL, OPT_MEMORY_LIMIT}

void image_options_init(struct image_option_values *v);

/* The option of that name, or NULL. */
const struct option *image_option_find(const char *name);

/* Takes one option; value: NULL for one without. -EINVAL with a sentence that begins with the option's name, also for a code that is none
 * of these. */
int image_option_set(struct image_option_values *v, int code, const char *value, struct err *e);

/* Replaces `--cache auto` by the folder that it stands for; where there is none, says so, and the default stays. Once for the whole life of
 * a command, when all options are taken and before the sandbox: all its processes, later workers of a mount and the program that it is
 * handed over to have the same folder. While the process has one thread. image_options_parse() does it. */
void image_options_find_cache(struct image_option_values *v);

#endif
