/* Options that image commands share: see image_options.h. */
#include "cli/image_options.h"

#include <stdio.h>

#include "cli/cli.h"

int image_option(struct image_option_values *v, const char *command, int code, const char *argument)
{
	struct err e = ERR_INIT;

	if (code < OPT_CACHE || code >= OPT_COMMAND)
		return cli_usage(command, "unknown option");
	return image_option_set(v, code, argument, &e) < 0 ? cli_usage(command, "--%s", e.text) : 0;
}

int image_options_parse(struct image_option_values *v, int argc, char **argv, const struct option *options, const char *help,
	int operands, const char *needed)
{
	const char *command = argv[0];
	int code;

	image_options_init(v);
	while ((code = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (code == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (code == '?')
			return cli_bad_option(command, argv);
		if (code && image_option(v, command, code, optarg))
			return EXIT_USAGE;
	}
	if (operands >= 0 && argc - optind != operands)
		return cli_usage(command, "%s", needed);
	image_options_find_cache(v);
	return -1;
}
