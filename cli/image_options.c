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

struct taking {
	struct image_option_values *v;
	const char *command;
	cli_take own;
	void *context;
};

static int take(void *context, int code, char *value)
{
	struct taking *t = context;

	if (t->own && (code < OPT_CACHE || code >= OPT_COMMAND))
		return t->own(t->context, code, value);
	return image_option(t->v, t->command, code, value);
}

int image_options_take(struct image_option_values *v, int argc, char **argv, const char *letters, const struct option *options, const char *help,
	cli_take own, void *context)
{
	struct taking t = {v, argv[0], own, context};

	image_options_init(v);
	return cli_options(argc, argv, letters, options, help, take, &t);
}

int image_options_parse(struct image_option_values *v, int argc, char **argv, const struct option *options, const char *help,
	int operands, const char *needed)
{
	int status = image_options_take(v, argc, argv, "h", options, help, NULL, NULL);

	if (status >= 0)
		return status;
	if (operands >= 0 && argc - optind != operands)
		return cli_usage(argv[0], "%s", needed);
	image_options_find_cache(v);
	return -1;
}
