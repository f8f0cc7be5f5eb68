/* inetboot ls: the images of a store, from its catalogue. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "disk/catalog.h"
#include "disk/confine.h"

static const char help[] =
	"Usage: inetboot ls [OPTIONS] STORE\n\n"
	"Lists the images of a store (a URL or a folder) with their links. The list itself is not signed: what a link's key\n"
	"does not confirm later is refused then.\n\n"
	"  --short              each in one line\n"
	"  --json               for programs\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot ls http://127.0.0.1:8080\n";

static const char *text_of(json_t *image, const char *key)
{
	const char *text = json_string_value(json_object_get(image, key));

	return text ? text : "";
}

/* What came from outside goes to a terminal. */
static void print_clean(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);

	if (!copy)
		return;
	text_clean(copy);
	fputs(copy, stdout);
}

static void print_image(const char *store, json_t *image, bool in_short)
{
	char size[TEXT_SIZE_MAX], stored[TEXT_SIZE_MAX];
	const char *key = text_of(image, "key");

	text_size(size, (uint64_t)json_integer_value(json_object_get(image, "size")));
	text_size(stored, (uint64_t)json_integer_value(json_object_get(image, "stored")));
	printf("%s  version %lld, disk %s, download %s, ", text_of(image, "name"),
		(long long)json_integer_value(json_object_get(image, "version")), size, stored);
	print_clean(text_of(image, "filesystem"));
	printf(", ");
	print_clean(text_of(image, "created"));
	if (json_object_get(image, "revoked"))
		printf(", revoked by its publisher");
	if (in_short) {
		putchar('\n');
		return;
	}
	printf("\n  %s/%s%s", store, text_of(image, "name"), *key ? "#" : "");
	print_clean(key);
	putchar('\n');
}

static void print_catalog(const char *store, json_t *catalog, bool json, bool in_short)
{
	json_t *images = json_object_get(catalog, "images"), *image;
	size_t i;

	if (json) {
		json_dumpf(catalog, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
	json_array_foreach(images, i, image)
		print_image(store, image, in_short);
	if (!json_array_size(images))
		printf("no images in %s\n", store);
}

int cmd_ls(int argc, char **argv)
{
	static int json, in_short;
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'}, {"json", no_argument, &json, 1}, {"short", no_argument, &in_short, 1}, IMAGE_LONG_OPTIONS, {0}};
	_cleanup_free_ char *store = NULL;
	struct image_option_values v;
	struct origin *origin = NULL;
	json_t *catalog = NULL;
	struct err e = ERR_INIT;
	const char *url;
	int r;

	r = image_options_parse(&v, argc, argv, options, help, 1, "one store is needed, a URL or a folder");
	if (r >= 0)
		return r;
	store = strdup(text_starts(argv[optind], "file:") ? argv[optind] + 5 : argv[optind]);
	for (size_t len = strlen(store); len > 1 && store[len - 1] == '/'; len--)
		store[len - 1] = 0;
	url = store;
	r = image_confine(store, &v.o, &e);
	if (!r && strstr(store, "://"))
		r = origin_open(&origin, &url, 1, &v.o.origin, &e);
	for (const char **mirror = v.mirrors; !r && origin && *mirror; mirror++)
		r = origin_add(origin, *mirror, &e);
	if (!r)
		r = catalog_load(&catalog, store, origin, false, &e);
	if (!r)
		print_catalog(store, catalog, json, in_short);
	else
		err_add(&e, "cannot list %s", store);
	json_decref(catalog);
	if (origin)
		origin_close(origin);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}
