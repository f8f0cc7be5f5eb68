/* inetboot mirrors: measures all mirrors of an image, the fastest first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "disk/confine.h"
#include "disk/measure.h"
#include "fetch/url.h"

static const char help[] =
	"Usage: inetboot mirrors [OPTIONS] LINK\n\n"
	"Measures every server that an image may come from: the link's, those of --mirror, and those that its signed manifest\n"
	"names. Each is asked for its version and fetches some blocks (a few megabytes). The fastest comes first.\n\n"
	"  --json               for programs\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExits with 1 where no mirror is good.\n"
	"\nExample: inetboot mirrors --mirror http://127.0.0.1:8081 'http://127.0.0.1:8080/debian#RWQ...'\n";

struct list {
	struct mirror_measure *all;
	size_t count;
};

static int add(struct list *l, const char *url)
{
	struct mirror_measure *more;
	size_t len = strlen(url);
	char *copy;

	while (len && url[len - 1] == '/')
		len--;
	for (size_t i = 0; i < l->count; i++)
		if (!strncmp(l->all[i].url, url, len) && !l->all[i].url[len])
			return 0;
	more = realloc(l->all, (l->count + 1) * sizeof(*more));
	if (!more)
		return -1;
	l->all = more;
	copy = strndup(url, len);
	if (!copy)
		return -1;
	l->all[l->count++] = (struct mirror_measure){.url = copy};
	return 0;
}

static void free_list(struct list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free((char *)l->all[i].url);
	free(l->all);
}

/* Those of the link and the options, and, where its manifest could be had, those that it names. */
static int collect(struct list *l, const struct link *link, const struct image *image, const struct image_options *o)
{
	int r = add(l, link->store);

	for (const char **m = o->mirrors; !r && m && *m; m++)
		r = add(l, *m);
	for (size_t i = 0; !r && image && image->verified && i < image->manifest.mirror_count; i++)
		r = add(l, image->manifest.mirrors[i]);
	return r;
}

static void measure(struct mirror_measure *m, const struct link *link, const struct image *image, const struct image_options *o)
{
	const char *url = m->url;

	if (sandbox_port_allowed((unsigned)url_port(url))) {
		log_debug("measuring %s", url);
		mirror_measure(m, url, link, image ? &image->manifest : NULL, o);
		return;
	}
	*m = (struct mirror_measure){.url = url, .state = "not asked"};
	snprintf(m->text, sizeof(m->text), "its port is none of the web's usual ones; --mirror with it would allow that");
}

static int compare(const void *a, const void *b)
{
	return mirror_measure_compare(a, b);
}

/* ---- what people see ---- */

static void print_rate(double bytes_per_s)
{
	char size[TEXT_SIZE_MAX], text[TEXT_SIZE_MAX + 4];

	text_size(size, (uint64_t)bytes_per_s);
	snprintf(text, sizeof(text), "%s/s", size);
	printf("  %10s", bytes_per_s > 0 ? text : "-");
}

static void print_one(const struct mirror_measure *m, int width)
{
	char version[24] = "-", latency[24] = "-";

	if (m->version)
		snprintf(version, sizeof(version), "%llu", (unsigned long long)m->version);
	if (m->latency_ms > 0)
		snprintf(latency, sizeof(latency), "%.1f ms", m->latency_ms);
	printf("%-*s  %-15s  %7s  %10s", width, m->url, m->state, version, latency);
	print_rate(m->bytes_per_s);
	printf("  %6llu\n", (unsigned long long)m->errors);
}

static void print_table(const struct list *l)
{
	int width = 6;

	for (size_t i = 0; i < l->count; i++)
		width = (int)strlen(l->all[i].url) > width ? (int)strlen(l->all[i].url) : width;
	printf("%-*s  %-15s  %7s  %10s  %10s  %6s\n", width, "MIRROR", "STATE", "VERSION", "LATENCY", "THROUGHPUT", "ERRORS");
	for (size_t i = 0; i < l->count; i++)
		print_one(&l->all[i], width);
	for (size_t i = 0; i < l->count; i++)
		if (*l->all[i].text)
			printf("%s: %s\n", l->all[i].url, l->all[i].text);
}

static void print_json(const struct list *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->count; i++) {
		const struct mirror_measure *m = &l->all[i];

		json_array_append_new(list, json_pack("{s:s, s:b, s:s, s:I, s:f, s:f, s:I, s:I, s:s}", "url", m->url, "good", m->good,
			"state", m->state, "version", (json_int_t)m->version, "latency_ms", m->latency_ms, "bytes_per_s",
			m->bytes_per_s, "bytes", (json_int_t)m->bytes, "errors", (json_int_t)m->errors, "error", m->text));
	}
	json_dumpf(list, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(list);
}

static int run(const char *text, struct image_options *o, bool json, struct err *e)
{
	_cleanup_(link_free) struct link link = {0};
	struct list list = {0};
	struct image *image = NULL;
	struct err why = ERR_INIT;
	int good = 0, r;

	o->no_cache = true; /* a copy there says nothing about mirrors */
	r = link_parse(&link, text, e);
	if (!r && (!link.remote || !link.name[0]))
		r = err_set(e, -EINVAL, "only an image in a store on a web server has mirrors");
	if (!r)
		r = image_confine(text, o, e);
	if (!r && image_open(&image, text, o, &why) < 0)
		log_warning("%s", why.text); /* the table says which mirror is how bad */
	if (!r && (image && !image->in_store))
		r = err_set(e, -EINVAL, "only an image in a store has mirrors, and this is a plain file");
	if (!r && collect(&list, &link, image, o) < 0)
		r = err_set(e, -ENOMEM, "no memory for a list of mirrors");
	for (size_t i = 0; !r && i < list.count; i++) {
		measure(&list.all[i], &link, image, o);
		good += list.all[i].good;
	}
	if (!r) {
		qsort(list.all, list.count, sizeof(*list.all), compare);
		if (json)
			print_json(&list);
		else
			print_table(&list);
	}
	free_list(&list);
	image_close(image);
	return r < 0 ? r : good;
}

int cmd_mirrors(int argc, char **argv)
{
	static int json;
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'}, {"json", no_argument, &json, 1}, IMAGE_LONG_OPTIONS, {0}};
	struct image_option_values v;
	struct err e = ERR_INIT;
	int r = image_options_parse(&v, argc, argv, options, help, 1, "exactly one link is needed");

	if (r >= 0)
		return r;
	r = run(argv[optind], &v.o, json, &e);
	if (r < 0) {
		err_add(&e, "cannot measure the mirrors of %s", argv[optind]);
		return cli_fail(&e);
	}
	return r ? EXIT_OK : EXIT_FAILED;
}
