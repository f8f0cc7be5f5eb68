/* The options of all commands that open an image. A command puts IMAGE_LONG_OPTIONS into its getopt_long table and gives what
 * it does not know itself to image_option(). Values are borrowed from argv. */
#ifndef CLI_IMAGE_OPTIONS_H
#define CLI_IMAGE_OPTIONS_H

#include "cli/cli.h"
#include "disk/image_options.h"

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

/* Takes one option. 0; or EXIT_USAGE after having said what is wrong, also for options that nobody knows. */
int image_option(struct image_option_values *v, const char *command, int code, const char *argument);

/* Parses the command line of a command with options of its own that `own` takes: letters, and codes from OPT_COMMAND on. As cli_options(); the
 * operands, and then image_options_find_cache(), are left to the caller. */
int image_options_take(struct image_option_values *v, int argc, char **argv, const char *letters, const struct option *options, const char *help,
	cli_take own, void *context);

/* Parses the command line of a command whose own options are flags (getopt's `flag`): --help, IMAGE_LONG_OPTIONS and those.
 * Returns -1 with optind at the first of exactly `operands` operands (negative: the caller looks; named by `needed`
 * where they are not), else the exit status. */
int image_options_parse(struct image_option_values *v, int argc, char **argv, const struct option *options, const char *help,
	int operands, const char *needed);

#endif
