/* inetboot serve: see publish/server.h for what it does. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "publish/server.h"

static const char help[] =
	"Usage: inetboot serve STORE [OPTION]...\n\n"
	"Hands out a store by HTTP, for trying things out, and prints the link of each image. For "
	"real use any web server: the\n"
	"store is only files.\n\n"
	"  -a, --address IP   listen on this address (default: 127.0.0.1; 0.0.0.0 or :: for all)\n"
	"  -p, --port N       listen on this port (default: 8080; 0: any free one)\n"
	"      --log          print a line for each request\n"
	"  -h, --help         show this\n\n"
	"Ends at SIGINT (Ctrl-C) or SIGTERM.\n\n"
	"Example:\n  inetboot serve store --port 8000\n";

enum { OPT_LOG = 0x100 };

static const struct option options[] = {
	{"address", required_argument, NULL, 'a'},
	{"port", required_argument, NULL, 'p'},
	{"log", no_argument, NULL, OPT_LOG},
	{"help", no_argument, NULL, 'h'},
	{0},
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

static int run(
	struct store *s, const struct server_options *o, const sigset_t *until, struct err *e)
{
	_cleanup_free_ char *url = NULL;
	struct server *server;
	int number, r = server_start(&server, s, o, e);

	if (r < 0)
		return r;
	if (server_beyond_loopback(server))
		log_warning("whoever reaches %s port %u can read this store", o->address,
			server_port(server));
	url = server_url(server);
	r = print_links(s, url ? url : "", e);
	if (!r)
		sigwait(until, &number);
	server_stop(server);
	return r;
}

int cmd_serve(int argc, char **argv)
{
	struct server_options o = {.address = "127.0.0.1", .port = 8080};
	struct err e = ERR_INIT;
	struct store store;
	sigset_t until;
	uint64_t port;
	int c, r;

	while ((c = getopt_long(argc, argv, "ha:p:", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			fputs(help, stdout);
			return EXIT_OK;
		case 'a':
			o.address = optarg;
			break;
		case 'p':
			if (text_to_u64(optarg, &port) < 0 || port > 65535)
				return cli_usage(
					"serve", "--port %s: it must be 0 to 65535", optarg);
			o.port = (uint16_t)port;
			break;
		case OPT_LOG:
			o.log = true;
			break;
		default:
			return cli_bad_option("serve", argv);
		}
	}
	if (argc - optind != 1)
		return cli_usage("serve", "one STORE is needed");
	/* Before threads start: they inherit it, so that only sigwait() gets them. */
	sigemptyset(&until);
	sigaddset(&until, SIGINT);
	sigaddset(&until, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &until, NULL);
	r = store_open(&store, argv[optind], &e);
	if (!r) {
		r = run(&store, &o, &until, &e);
		store_close(&store);
	}
	if (r < 0) {
		err_add(&e, "cannot serve %s", argv[optind]);
		return cli_fail(&e);
	}
	return EXIT_OK;
}
