/* Options by their codes: see image_options.h. */
#include "disk/image_options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "cache/medium.h"

/* For a program that goes on with a mount of ours: the blocks in that folder may be all that there is. Empty: the
 * ordinary one. */
#define FOUND_VARIABLE "INETBOOT_CACHE_FOUND"

static const struct option options[] = {IMAGE_LONG_OPTIONS, {0}};

void image_options_init(struct image_option_values *v)
{
	*v = (struct image_option_values){.o.cache_size = CACHE_SIZE_DEFAULT, .o.memory_limit = MEMORY_LIMIT_DEFAULT};
}

const struct option *image_option_find(const char *name)
{
	for (const struct option *o = options; o->name; o++)
		if (!strcmp(o->name, name))
			return o;
	return NULL;
}

static int add_to(const char **list, const char *what, const char *value, struct err *e)
{
	int n = 0;

	while (list[n])
		n++;
	if (n == IMAGE_LISTS_MAX)
		return err_set(e, -EINVAL, "%s is there more than %d times", what, IMAGE_LISTS_MAX);
	list[n] = value;
	return 0;
}

static int take_size(const char *what, const char *text, uint64_t least, uint64_t *out, struct err *e)
{
	if (text_to_size(text, out) < 0 || *out < least)
		return err_set(e, -EINVAL, "%s takes a size of at least %llu bytes, like 500M or 4G, not '%s'", what,
			(unsigned long long)least, text);
	return 0;
}

static int take_seconds(const char *what, const char *text, unsigned *out_ms, struct err *e)
{
	uint64_t number;

	if (text_to_u64(text, &number) < 0 || !number || number > UINT_MAX / 1000)
		return err_set(e, -EINVAL, "%s takes a number of seconds, not '%s'", what, text);
	*out_ms = (unsigned)number * 1000;
	return 0;
}

int image_option_set(struct image_option_values *v, int code, const char *value, struct err *e)
{
	uint64_t number;
	int r;

	switch (code) {
	case OPT_CACHE:
		v->o.cache_found = !strcmp(value, CACHE_AUTO);
		v->o.cache_dir = v->o.cache_found ? NULL : value;
		return 0;
	case OPT_CACHE_SIZE:
		return take_size("cache-size", value, 1 << 20, &v->o.cache_size, e);
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
		return add_to(v->mirrors, "mirror", value, e);
	case OPT_PROXY:
		v->o.origin.proxy = value;
		return 0;
	case OPT_CACERT:
		v->o.origin.cacert = value;
		return 0;
	case OPT_HEADER:
		v->o.origin.headers = v->headers;
		return add_to(v->headers, "header", value, e);
	case OPT_NETRC:
		v->o.origin.netrc = true;
		return 0;
	case OPT_NET_TIMEOUT:
		return take_seconds("net-timeout", value, &v->o.origin.timeout_ms, e);
	case OPT_RECORD:
		v->record = value;
		return 0;
	case OPT_MEMORY_LIMIT:
		r = take_size("memory-limit", value, MEMORY_LIMIT_LEAST, &number, e);
		v->o.memory_limit = r < 0 ? v->o.memory_limit : (size_t)number;
		return r;
	default:
		return err_set(e, -EINVAL, "this is no option of an image");
	}
}

void image_options_find_cache(struct image_option_values *v)
{
	const char *before = getenv(FOUND_VARIABLE);
	_cleanup_free_ char *dir = NULL;
	struct err e = ERR_INIT;

	if (!v->o.cache_found || v->o.no_cache)
		return;
	if (!before && medium_find(&dir, &e) < 0)
		log_warning("--cache " CACHE_AUTO ": %s; going on with the ordinary cache", e.text);
	snprintf(v->found_cache, sizeof(v->found_cache), "%s", before ? before : dir ? dir : "");
	v->o.cache_found = *v->found_cache;
	v->o.cache_dir = *v->found_cache ? v->found_cache : NULL;
	setenv(FOUND_VARIABLE, v->found_cache, 1);
}
