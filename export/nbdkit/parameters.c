/* Parameters: see parameters.h. */
#define NBDKIT_API_VERSION 2
#include "export/nbdkit/parameters.h"

#include <nbdkit-plugin.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

const char parameters_help[] =
	"link=LINK          the image (required): http://HOST/PATH/NAME#KEY, or a path\n"
	"export=NAME        the only name that clients may ask for\n"
	"pack=true          fetch the image's boot pack first\n"
	"fill=true          fetch the rest of the image into the cache in the background\n"
	"allow-read=FILE    a file that nbdkit reads while it serves, as that of --tls-psk\n"
	"ready=TEXT         print this line when the disk is there\n"
	"log-level=LEVEL    error, info (default) or debug\n"
	"log=json           messages as JSON\n"
	"cache=DIR cache-size=SIZE no-cache=true mirror=URL net-timeout=SECONDS insecure=true strict=true\n"
	"proxy=URL cacert=FILE header='NAME: VALUE' netrc=true memory-limit=SIZE\n"
	"                   as the options of inetboot(1)";

void parameters_init(struct parameters *p)
{
	*p = (struct parameters){.export = "", .log_level = LOG_INFO};
	image_options_init(&p->image);
}

/* NULL after nbdkit has said why. */
static const char *absolute(const char *path)
{
	_cleanup_free_ char *whole = nbdkit_absolute_path(path);

	return whole ? nbdkit_strdup_intern(whole) : NULL;
}

static int take_link(struct parameters *p, const char *value)
{
	_cleanup_(link_free) struct link l = {0};
	struct err e = ERR_INIT;

	if (link_parse(&l, value, &e) < 0) {
		nbdkit_error("link: %s", e.text);
		return -1;
	}
	p->link = l.remote || text_starts(value, "file:") ? nbdkit_strdup_intern(value) : absolute(value);
	return p->link ? 0 : -1;
}

static int take_export(struct parameters *p, const char *value)
{
	p->export = nbdkit_strdup_intern(value);
	return p->export ? 0 : -1;
}

static int take_flag(bool *flag, const char *value)
{
	int r = nbdkit_parse_bool(value);

	if (r >= 0)
		*flag = r;
	return r < 0 ? -1 : 0;
}

static int take_pack(struct parameters *p, const char *value)
{
	return take_flag(&p->image.o.play, value);
}

static int take_fill(struct parameters *p, const char *value)
{
	return take_flag(&p->image.o.fill, value);
}

static int take_ready(struct parameters *p, const char *value)
{
	p->ready = nbdkit_strdup_intern(value);
	return p->ready ? 0 : -1;
}

static int take_file(struct parameters *p, const char *value)
{
	size_t n = 0;

	while (p->files[n])
		n++;
	if (n == PARAMETERS_FILES_MAX) {
		nbdkit_error("allow-read is there more than %d times", PARAMETERS_FILES_MAX);
		return -1;
	}
	p->files[n] = absolute(value);
	return p->files[n] ? 0 : -1;
}

static int take_log_level(struct parameters *p, const char *value)
{
	static const char *const names[] = {[LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], value) != 0)
			continue;
		p->log_level = (enum log_level)i;
		return 0;
	}
	nbdkit_error("log-level takes error, warning, info or debug, not '%s'", value);
	return -1;
}

static int take_log(struct parameters *p, const char *value)
{
	if (strcmp(value, "json") != 0) {
		nbdkit_error("log takes json, not '%s'", value);
		return -1;
	}
	p->log_form = LOG_JSON;
	return 0;
}

static const struct {
	const char *name;
	int (*take)(struct parameters *p, const char *value);
} own[] = {{"link", take_link}, {"export", take_export}, {"pack", take_pack}, {"fill", take_fill}, {"ready", take_ready}, {"allow-read", take_file}, {"log-level", take_log_level},
	{"log", take_log}};

static int take_image_option(struct parameters *p, const struct option *o, const char *value)
{
	bool path = (o->val == OPT_CACHE && strcmp(value, CACHE_AUTO) != 0) || o->val == OPT_CACERT;
	struct err e = ERR_INIT;
	const char *kept;
	int flag;

	if (o->has_arg == no_argument) {
		flag = nbdkit_parse_bool(value);
		return flag > 0 ? image_option_set(&p->image, o->val, NULL, NULL) : flag;
	}
	kept = path ? absolute(value) : nbdkit_strdup_intern(value);
	if (!kept)
		return -1;
	if (image_option_set(&p->image, o->val, kept, &e) < 0) {
		nbdkit_error("%s", e.text);
		return -1;
	}
	return 0;
}

int parameters_take(struct parameters *p, const char *key, const char *value)
{
	const struct option *option = image_option_find(key);

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (!strcmp(own[i].name, key))
			return own[i].take(p, value);
	if (option)
		return take_image_option(p, option, value);
	nbdkit_error("there is no parameter %s; inetboot-nbd(1) lists those that are", key);
	return -1;
}
