/* The options of all commands that open an image. A command puts IMAGE_LONG_OPTIONS into its getopt_long table and gives what
 * it does not know itself to image_option(). Values are borrowed from argv. */
#ifndef CLI_IMAGE_OPTIONS_H
#define CLI_IMAGE_OPTIONS_H

#include <getopt.h>
#include <limits.h>

#include "disk/image.h"

#define IMAGE_LISTS_MAX 32 /* mirrors and headers each */

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

#define RECORD_LONG_OPTION {"record", required_argument, NULL, OPT_RECORD}
#define RECORD_OPTION_HELP                                                                         \
	"  --record FILE        write what is read first to FILE, for `inetboot profile`\n"

/* For --help. */
#define IMAGE_OPTIONS_HELP                                                                         \
	"Where images come from:\n"                                                                \
	"  --cache DIR          keep fetched blocks here (default: ~/.cache/inetboot; auto: a folder knxblock on a stick)\n" \
	"  --cache-size SIZE    most that the cache may take, e.g. 500M (default: 4G)\n"           \
	"  --no-cache           keep nothing\n"                                                    \
	"  --mirror URL         another server with the same store; may be repeated\n"             \
	"  --net-timeout S      give up after S seconds without an answer (default: 20 at the start, then never);\n" \
	"                       --timeout is the same, but for boot\n"                              \
	"  --insecure           accept a link without a key\n"                                     \
	"  --strict             refuse a version that has expired, or of which that cannot be told, instead of warning\n" \
	"  --proxy URL          use this proxy (default: http_proxy and https_proxy)\n"            \
	"  --cacert FILE        trust these certificate authorities for https\n"                   \
	"  --header 'N: V'      send this header to the server; may be repeated\n"                 \
	"  --netrc              log in with what ~/.netrc says\n"                                  \
	"  --memory-limit SIZE  most memory that it may take, at least 32M (default: 64M)\n"

void image_options_init(struct image_option_values *v);

/* Takes one option. 0; or EXIT_USAGE after having said what is wrong, also for options that nobody knows. */
int image_option(struct image_option_values *v, const char *command, int code, const char *argument);

/* Replaces `--cache auto` by the folder that it stands for; where there is none, says so, and the default stays. Once for the whole life of
 * a command, when all options are taken and before the sandbox: all its processes, later workers of a mount and the program that it is
 * handed over to have the same folder. image_options_parse() does it. */
void image_options_find_cache(struct image_option_values *v);

/* Parses the command line of a command whose own options are flags (getopt's `flag`): --help, IMAGE_LONG_OPTIONS and those.
 * Returns -1 with optind at the first of exactly `operands` operands (negative: the caller looks; named by `needed`
 * where they are not), else the exit status. */
int image_options_parse(struct image_option_values *v, int argc, char **argv, const struct option *options, const char *help,
	int operands, const char *needed);

#endif
