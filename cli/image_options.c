/* Options that image commands share: see image_options.h. */
#include "cli/image_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "cache/medium.h"
#include "cli/cli.h"

#define CACHE_AUTO "auto"
/* For a program that goes on with a mount of ours: the blocks in that folder may be all that there is. */
#define FOUND_VARIABLE "INETBOOT_CACHE_FOUND"

void image_options_init(struct image_option_values *v)
{
	*v = (struct image_option_values){.o.cache_size = CACHE_SIZE_DEFAULT, .o.memory_limit = MEMORY_LIMIT_DEFAULT};
}

static int add_to(const char **list, const char *command, const char *what, const char *value)
{
	int n = 0;

	while (list[n])
		n++;
	if (n == IMAGE_LISTS_MAX)
		return cli_usage(command, "more than %d times --%s", IMAGE_LISTS_MAX, what);
	list[n] = value;
	return 0;
}

static int size_option(const char *command, const char *what, const char *text, uint64_t least, uint64_t *out)
{
	if (text_to_size(text, out) < 0 || *out < least)
		return cli_usage(command, "--%s takes a size of at least %llu bytes, like 500M or 4G, not '%s'", what,
			(unsigned long long)least, text);
	return 0;
}

int image_option(struct image_option_values *v, const char *command, int code, const char *argument)
{
	unsigned seconds = 0;
	uint64_t number;
	int r;

	switch (code) {
	case OPT_CACHE:
		v->o.cache_found = !strcmp(argument, CACHE_AUTO);
		v->o.cache_dir = v->o.cache_found ? NULL : argument;
		return 0;
	case OPT_CACHE_SIZE:
		return size_option(command, "cache-size", argument, 1 << 20, &v->o.cache_size);
	case OPT_NO_CACHE:
		v->o.no_cache = true;
		return 0;
	case OPT_INSECURE:
		v->o.insecure = true;
		return 0;
	case OPT_STRICT:
		v->o.strict = true;
		return 0;
	case OPT_MIRROR:
		v->o.mirrors = v->mirrors;
		return add_to(v->mirrors, command, "mirror", argument);
	case OPT_PROXY:
		v->o.origin.proxy = argument;
		return 0;
	case OPT_CACERT:
		v->o.origin.cacert = argument;
		return 0;
	case OPT_HEADER:
		v->o.origin.headers = v->headers;
		return add_to(v->headers, command, "header", argument);
	case OPT_NETRC:
		v->o.origin.netrc = true;
		return 0;
	case OPT_NET_TIMEOUT:
		r = cli_seconds(command, "net-timeout", argument, &seconds);
		v->o.origin.timeout_ms = seconds * 1000;
		return r;
	case OPT_RECORD:
		v->record = argument;
		return 0;
	case OPT_MEMORY_LIMIT:
		r = size_option(command, "memory-limit", argument, MEMORY_LIMIT_LEAST, &number);
		v->o.memory_limit = (size_t)number;
		return r;
	default:
		return cli_usage(command, "unknown option");
	}
}

void image_options_find_cache(struct image_option_values *v)
{
	const char *before = getenv(FOUND_VARIABLE);
	_cleanup_free_ char *dir = NULL;
	struct err e = ERR_INIT;

	if (!v->o.cache_found || v->o.no_cache)
		return;
	v->o.cache_found = before || !medium_find(&dir, &e);
	if (!v->o.cache_found) {
		log_warning("--cache " CACHE_AUTO ": %s; going on with the ordinary cache", e.text);
		return;
	}
	snprintf(v->found_cache, sizeof(v->found_cache), "%s", before ? before : dir);
	v->o.cache_dir = v->found_cache;
	setenv(FOUND_VARIABLE, v->found_cache, 1);
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
