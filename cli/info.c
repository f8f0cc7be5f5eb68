/* inetboot info: what an image is, and what a boot of it will fetch. */
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
	"Usage: inetboot info [OPTIONS] LINK\n\n"
	"Shows what an image is: versions, sizes, file system, boot entries, and what a boot will fetch.\n\n"
	"  --json               for programs\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot info 'http://127.0.0.1:8080/debian#RWQ...'\n";

static json_t *boot_entries(const struct manifest *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->boot_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:I, s:I}", "title", m->boot[i].title, "type", m->boot[i].type,
			"cmdline", m->boot[i].cmdline, "kernel_bytes", (json_int_t)m->boot[i].kernel.size, "initrd_bytes",
			(json_int_t)m->boot[i].initrd.size));
	return list;
}

/* The versions that the store's catalogue lists; best effort: the catalogue is only a convenience. */
static json_t *versions(struct image *image)
{
	json_t *catalog = NULL, *list = NULL, *version;
	json_t *out = json_array();
	size_t i;

	if (!catalog_load(&catalog, image->link.store, image->origin, true, NULL))
		list = json_object_get(catalog_find(catalog, image->link.name), "versions");
	json_array_foreach(list, i, version)
		if (json_is_integer(version))
			json_array_append(out, version);
	json_decref(catalog);
	return out;
}

static json_t *describe_store(struct image *image)
{
	const struct manifest *m = &image->manifest;
	char hash[HASH_HEX_MAX];

	hash_hex(&m->image.root, hash);
	return json_pack("{s:s, s:s, s:b, s:I, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:o}", "link", image->text, "name", m->name,
		"verified", image->verified, "version", (json_int_t)m->version, "versions", versions(image), "created", m->created,
		"expires", m->expires, "size", (json_int_t)m->image.size, "pack", (json_int_t)m->profile.size, "stored", (json_int_t)m->stored, "chunks", (json_int_t)m->chunks,
		"root", hash, "filesystem", m->filesystem, "boot", boot_entries(m));
}

static json_t *describe(struct image *image, struct err *e)
{
	if (image->in_store)
		return describe_store(image);
	if (image_open_disk(image, e) < 0)
		return NULL;
	return image_status(image);
}

static void print_line(const char *what, const char *text)
{
	if (*text)
		printf("%-12s %s\n", what, text);
}

static void print_versions(json_t *list)
{
	json_t *version;
	size_t i;

	if (!json_array_size(list))
		return; /* no catalogue: offline, or none there */
	printf("%-12s", "versions");
	json_array_foreach(list, i, version)
		printf(" %lld", (long long)json_integer_value(version));
	putchar('\n');
}

static void print_store(struct image *image, json_t *about)
{
	const struct manifest *m = &image->manifest;
	char size[TEXT_SIZE_MAX], stored[TEXT_SIZE_MAX];

	text_size(size, m->image.size);
	text_size(stored, m->stored);
	print_line("image", m->name);
	printf("%-12s %llu, made %s%s%s\n", "version", (unsigned long long)m->version, m->created, *m->expires ? ", expires " : "",
		m->expires);
	print_versions(json_object_get(about, "versions"));
	print_line("signature", image->verified ? "good, by the link's key" : "not checked: the link has no key");
	print_line("file system", m->filesystem);
	printf("%-12s %s in %llu chunks\n", "disk", size, (unsigned long long)m->chunks);
	printf("%-12s %s; a boot fetches the part of it that it reads\n", "download", stored);
	if (m->profile.size) {
		text_size(size, m->profile.size);
		printf("%-12s %s, in one stream\n", "boot pack", size);
	}
	for (size_t i = 0; i < m->boot_count; i++)
		printf("%-12s %s (%s)%s%s\n", i ? "" : "boots", m->boot[i].title, m->boot[i].type, m->boot[i].cmdline ? ": " : "",
			m->boot[i].cmdline ? m->boot[i].cmdline : "");
}

static void print_plain(json_t *about)
{
	char size[TEXT_SIZE_MAX];

	text_size(size, (uint64_t)json_integer_value(json_object_get(about, "size")));
	print_line("image", json_string_value(json_object_get(about, "link")));
	print_line("read as", json_string_value(json_object_get(about, "source")));
	print_line("disk", size);
	print_line("signature", "none: this is a plain file");
}

int cmd_info(int argc, char **argv)
{
	static int json;
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'}, {"json", no_argument, &json, 1}, IMAGE_LONG_OPTIONS, {0}};
	struct image_option_values v;
	struct image *image = NULL;
	struct err e = ERR_INIT;
	json_t *about = NULL;
	int r;

	r = image_options_parse(&v, argc, argv, options, help, 1, "exactly one link is needed");
	if (r >= 0)
		return r;
	if (!image_confine(argv[optind], &v.o, &e) && !image_open(&image, argv[optind], &v.o, &e))
		about = describe(image, &e);
	if (!about) {
		err_add(&e, "cannot show %s", argv[optind]);
	} else if (json) {
		json_dumpf(about, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (image->in_store) {
		print_store(image, about);
	} else {
		print_plain(about);
	}
	json_decref(about);
	image_close(image);
	return about ? EXIT_OK : cli_fail(&e);
}
