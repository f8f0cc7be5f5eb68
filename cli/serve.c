/* inetboot serve: a store, or a proxy for others; see publish/server.h for what it does. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "disk/confine.h"
#include "publish/proxy.h"
#include "publish/server.h"
#include "publish/store_site.h"

static const char help[] =
	"Usage: inetboot serve STORE [OPTION]...\n"
	"       inetboot serve --proxy LINK [--proxy LINK]... [OPTION]...\n\n"
	"Hands out a store by HTTP, for trying things out, and prints the link of each image. For "
	"real use any web server: the\n"
	"store is only files.\n\n"
	"With --proxy it hands on images of other servers: one download for a whole local network. Each block is fetched once,\n"
	"checked, kept in the cache, and given to all who ask.\n\n"
	"  -a, --address IP     listen on this address (default: 127.0.0.1; 0.0.0.0 or :: for all)\n"
	"  -p, --port N         listen on this port (default: 8080; 0: any free one)\n"
	"      --log            print a line for each request\n"
	"      --proxy LINK     hand on this image; may be repeated\n"
	"  -h, --help           show this\n\n"
	"With --proxy also:\n"
	"  --cache DIR          keep fetched blocks here (default: ~/.cache/inetboot; auto: a folder knxblock on a stick)\n"
	"  --cache-size SIZE    most that the cache may take, e.g. 500M (default: 4G)\n"
	"  --mirror URL         another server with the same stores; may be repeated\n"
	"  --cacert FILE        trust these certificate authorities for https\n"
	"  --header 'N: V'      send this header to the servers; may be repeated\n"
	"  --netrc              log in with what ~/.netrc says\n\n"
	"Ends at SIGINT (Ctrl-C) or SIGTERM.\n\n"
	"Examples:\n  inetboot serve store --port 8000\n"
	"  inetboot serve --address 0.0.0.0 --proxy 'https://example.org/debian#RWQ...'\n";

enum { OPT_LOG = OPT_COMMAND, OPT_PROXY_LINK };

static const struct option options[] = {
	{"address", required_argument, NULL, 'a'},
	{"port", required_argument, NULL, 'p'},
	{"log", no_argument, NULL, OPT_LOG},
	{"proxy", required_argument, NULL, OPT_PROXY_LINK},
	{"cache", required_argument, NULL, OPT_CACHE},
	{"cache-size", required_argument, NULL, OPT_CACHE_SIZE},
	{"mirror", required_argument, NULL, OPT_MIRROR},
	{"cacert", required_argument, NULL, OPT_CACERT},
	{"header", required_argument, NULL, OPT_HEADER},
	{"netrc", no_argument, NULL, OPT_NETRC},
	{"help", no_argument, NULL, 'h'},
	{0},
};

struct serving {
	struct server_options o;
	struct image_option_values image;
	const char *links[PROXY_IMAGES_MAX];
	size_t link_count;
	sigset_t until;
};

static void log_bad(void *context, const char *file, const struct err *why)
{
	log_warning("%s", why->text);
}

static void print_link(struct store *s, const char *url, const char *name)
{
	struct public_key key;
	bool known = !store_image_key(s, name, &key, NULL);
	_cleanup_free_ char *link = link_format(url, name, 0, known ? &key : NULL);

	if (link)
		printf("%s\n", link);
}

static int print_links(struct store *s, const char *url, struct err *e)
{
	struct versions v;
	int r = store_versions(s, NULL, log_bad, NULL, &v, e);

	if (r < 0)
		return r;
	printf("serving %s at %s/\n", s->path, url);
	for (size_t i = 0; i < v.count; i++)
		if (v.list[i].newest)
			print_link(s, url, v.list[i].manifest.name);
	fflush(stdout);
	versions_free(&v);
	return 0;
}

static void warn_beyond(const struct server *server, const struct serving *v, const char *what)
{
	if (server_beyond_loopback(server))
		log_warning("whoever reaches %s port %u can %s", v->o.address, server_port(server), what);
}

static void wait_for_signal(const struct serving *v)
{
	int number;

	fflush(stdout);
	sigwait(&v->until, &number);
}

static int serve_store(const struct serving *v, struct server *server, const char *path, const char *url, struct err *e)
{
	struct store store;
	struct site site;
	int r = store_open(&store, path, e);

	if (r < 0)
		return r;
	site = store_site(&store);
	r = server_start(server, &site, e);
	if (!r) {
		warn_beyond(server, v, "read this store");
		r = print_links(&store, url, e);
	}
	if (!r)
		wait_for_signal(v);
	server_stop(server);
	store_close(&store);
	return r;
}

static void print_proxy(const struct proxy *p, const char *url)
{
	char *link;

	printf("proxy at %s/; clients use one of these links, or their own with --mirror %s\n", url, url);
	for (size_t i = 0; (link = proxy_link(p, i, url)); i++) {
		printf("%s\n", link);
		free(link);
	}
}

static int serve_proxy(const struct serving *v, struct server *server, const char *url, struct err *e)
{
	struct proxy *proxy = NULL;
	struct site site;
	int r = proxy_confine(v->links, v->link_count, &v->image.o, e);

	if (!r)
		r = proxy_open(&proxy, v->links, v->link_count, &v->image.o, e);
	if (!r) {
		site = proxy_site(proxy);
		r = server_start(server, &site, e);
	}
	if (!r) {
		warn_beyond(server, v, "read these images through this proxy");
		print_proxy(proxy, url);
		wait_for_signal(v);
	}
	server_stop(server);
	proxy_close(proxy);
	return r;
}

static int take_option(struct serving *v, int code)
{
	uint64_t port;

	switch (code) {
	case 'a':
		v->o.address = optarg;
		return 0;
	case 'p':
		if (text_to_u64(optarg, &port) < 0 || port > 65535)
			return cli_usage("serve", "--port %s: it must be 0 to 65535", optarg);
		v->o.port = (uint16_t)port;
		return 0;
	case OPT_LOG:
		v->o.log = true;
		return 0;
	case OPT_PROXY_LINK:
		if (v->link_count == PROXY_IMAGES_MAX)
			return cli_usage("serve", "more than %d times --proxy", PROXY_IMAGES_MAX);
		v->links[v->link_count++] = optarg;
		return 0;
	default:
		return image_option(&v->image, "serve", code, optarg);
	}
}

/* Before threads start: they inherit it, so that only sigwait() gets them. */
static void block_signals(sigset_t *until)
{
	sigemptyset(until);
	sigaddset(until, SIGINT);
	sigaddset(until, SIGTERM);
	pthread_sigmask(SIG_BLOCK, until, NULL);
}

int cmd_serve(int argc, char **argv)
{
	struct serving v = {.o = {.address = "127.0.0.1", .port = 8080}};
	_cleanup_free_ char *url = NULL;
	struct server *server;
	struct err e = ERR_INIT;
	int c, r;

	image_options_init(&v.image);
	while ((c = getopt_long(argc, argv, "ha:p:", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (c == '?')
			return cli_bad_option("serve", argv);
		if (take_option(&v, c))
			return EXIT_USAGE;
	}
	if (argc - optind != !v.link_count)
		return cli_usage("serve", "one STORE is needed, or --proxy LINK");
	image_options_find_cache(&v.image);
	block_signals(&v.until);
	r = server_open(&server, &v.o, &e);
	if (!r) {
		url = server_url(server);
		r = v.link_count ? serve_proxy(&v, server, url ? url : "", &e) : serve_store(&v, server, argv[optind], url ? url : "", &e);
	}
	if (r < 0) {
		err_add(&e, "cannot serve %s", v.link_count ? "as a proxy" : argv[optind]);
		return cli_fail(&e);
	}
	return EXIT_OK;
}
