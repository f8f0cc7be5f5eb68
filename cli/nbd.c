/* inetboot nbd: the virtual disk by NBD. This process becomes nbdkit, with our plugin: what is here finds the plugin, makes nbdkit's command
 * line, and says by which URI clients get in. The default socket is in a fresh folder; a child that outlives nbdkit, whatever ends that,
 * removes it. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "machine/resources.h"

#define PLUGIN "nbdkit-inetboot-plugin.so"
#define OWN_WORDS 24 /* of nbdkit's command line, besides what each of ours becomes */
#define PORT "10809" /* NBD's own */
#define RUNTIME_MAX 60 /* bytes: a socket has little room for its path */

static const char help[] =
	"Usage: inetboot nbd [OPTIONS] LINK [-- NBDKIT-OPTION...]\n\n"
	"Serves the virtual disk of an image by NBD, read-only, with nbdkit: for qemu, nbdcopy, nbdfuse, nbd-client and others.\n"
	"LINK may also be a disk image or cloop file, here or on a web server. Prints the URI when the disk is there. Ends at Ctrl-C.\n\n"
	"  --socket PATH        listen on this Unix socket (default: a fresh one in $XDG_RUNTIME_DIR or /tmp)\n"
	"  --port N             listen on this TCP port (default with --address: " PORT ")\n"
	"  --address IP         listen on this address (default with --port: 127.0.0.1)\n"
	"  --export NAME        the only name of the disk that clients may ask for (default: any)\n"
	"  --pack               fetch the image's boot pack first, if it has one: for a machine that boots from it\n"
	"  --fill               fetch the rest of the image into the cache in the background\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nWhat follows -- goes to nbdkit: --tls=require, --filter=cow, --run 'COMMAND' and more, see nbdkit(1).\n"
	"Examples:\n"
	"  inetboot nbd http://127.0.0.1:8080/debian -- --run 'nbdcopy \"$uri\" debian.img'\n"
	"  inetboot nbd --socket /tmp/s 'http://127.0.0.1:8080/debian#RWQ...' &\n"
	"  qemu-system-x86_64 -m 1G -snapshot -drive 'file=nbd+unix:///?socket=/tmp/s,format=raw'\n";

enum { OPT_SOCKET = OPT_COMMAND, OPT_PORT, OPT_ADDRESS, OPT_EXPORT, OPT_PACK, OPT_FILL };

static const struct option options[] = {
	{"help", no_argument, NULL, 'h'},
	{"socket", required_argument, NULL, OPT_SOCKET},
	{"port", required_argument, NULL, OPT_PORT},
	{"address", required_argument, NULL, OPT_ADDRESS},
	{"export", required_argument, NULL, OPT_EXPORT},
	{"pack", no_argument, NULL, OPT_PACK},
	{"fill", no_argument, NULL, OPT_FILL},
	IMAGE_LONG_OPTIONS,
	{0},
};

struct nbd {
	const char *socket, *port, *address, *export;
	char *folder;	   /* of the default socket, or NULL */
	const char **words; /* nbdkit's command line; those that are made live as long as the process */
	size_t count;
	char **rest; /* behind --; NULL-terminated */
	bool no_memory;
};

/* ---- nbdkit's command line ---- */

static void add(struct nbd *n, const char *word)
{
	n->no_memory |= !word;
	n->words[n->count++] = word;
}

static void add_parameter(struct nbd *n, const char *key, const char *value)
{
	add(n, file_path("%s=%s", key, value));
}

static void add_log(struct nbd *n)
{
	enum log_level level;
	enum log_form form;

	log_settings(&level, &form);
	if (level != LOG_INFO)
		add_parameter(n, "log-level", level == LOG_ERROR ? "error" : "debug");
	if (form == LOG_JSON)
		add(n, "log=json");
}

/* Is the option among those for nbdkit? Its value, "" for one without; NULL: it is not. */
static const char *find_rest(const struct nbd *n, const char *name)
{
	size_t len = strlen(name);

	for (char **word = n->rest; *word; word++) {
		if (strncmp(*word, name, len) != 0)
			continue;
		if ((*word)[len] == '=')
			return *word + len + 1;
		if (!(*word)[len])
			return word[1] ? word[1] : "";
	}
	return NULL;
}

static void add_rest(struct nbd *n)
{
	const char *psk = find_rest(n, "--tls-psk");

	if (psk)
		add_parameter(n, "allow-read", psk); /* it is read for each client, when nbdkit is confined */
	for (char **word = n->rest; *word; word++)
		add(n, *word);
}

static void add_listening(struct nbd *n)
{
	add(n, "--foreground");
	if (n->port) {
		add(n, "--ipaddr");
		add(n, n->address);
		add(n, "--port");
		add(n, n->port);
	} else {
		add(n, "--unix");
		add(n, n->socket);
	}
	if (n->export) {
		add(n, "--exportname");
		add(n, n->export);
	}
}

/* ---- the URI ---- */

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~/", c);
}

static char *escape(const char *text)
{
	char *out = malloc(3 * strlen(text) + 1), *to = out;

	if (!out)
		return NULL;
	for (; *text; text++) {
		if (is_plain(*text))
			*to++ = *text;
		else
			to += sprintf(to, "%%%02X", (unsigned char)*text);
	}
	*to = 0;
	return out;
}

static char *make_uri(const struct nbd *n)
{
	_cleanup_free_ char *export = escape(n->export ? n->export : "");
	_cleanup_free_ char *socket = n->socket ? escape(n->socket) : NULL;
	const char *tls = find_rest(n, "--tls"), *scheme = tls && !strcmp(tls, "require") ? "nbds" : "nbd";
	bool v6 = n->address && strchr(n->address, ':');

	if (!export || (n->socket && !socket))
		return NULL;
	if (n->port)
		return file_path("%s://%s%s%s:%s/%s", scheme, v6 ? "[" : "", n->address, v6 ? "]" : "", n->port, export);
	return file_path("%s+unix:///%s?socket=%s", scheme, export, socket);
}

/* ---- the socket ---- */

/* The child must hold nothing that somebody waits for the end of. */
static void remove_at_end(const struct nbd *n, int end)
{
	char byte;

	setsid();
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	dup2(end, STDIN_FILENO);
	closefrom(STDOUT_FILENO);
	if (chdir("/") < 0 || file_read(STDIN_FILENO, &byte, 1) < 0)
		_exit(EXIT_FAILED);
	unlink(n->socket);
	rmdir(n->folder);
	_exit(EXIT_OK);
}

/* The pipe's writing end goes to nbdkit, which does not know of it, and is closed when that ends. */
static int start_remover(const struct nbd *n, struct err *e)
{
	int ends[2];
	pid_t child;

	if (pipe(ends) < 0)
		return err_errno(e, "cannot make a pipe");
	child = fork();
	if (child < 0)
		return err_errno(e, "cannot start a process");
	if (!child) {
		close(ends[1]);
		remove_at_end(n, ends[0]);
	}
	close(ends[0]);
	return 0;
}

static int make_default_socket(struct nbd *n, struct err *e)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (!runtime || *runtime != '/' || strlen(runtime) > RUNTIME_MAX || access(runtime, W_OK) < 0)
		runtime = "/tmp";
	n->folder = file_path("%s/inetboot-nbd-XXXXXX", runtime);
	if (!n->folder || !mkdtemp(n->folder)) /* mode 0700: nobody else gets in */
		return err_errno(e, "cannot make a folder for the socket in %s", runtime);
	n->socket = file_path("%s/socket", n->folder);
	if (!n->socket)
		return err_set(e, -ENOMEM, "no memory for a path");
	return start_remover(n, e);
}

/* A socket that nobody listens on any more is in the way of nbdkit, and is left by one. */
static int clear_socket(const char *path, struct err *e)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(e, -ENAMETOOLONG, "the socket's path %s is longer than %zu bytes", path, sizeof(address.sun_path) - 1);
	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "%s is there already, and is no socket", path);
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno != ECONNREFUSED)
		return err_set(e, -EADDRINUSE, "another program listens on %s", path);
	return unlink(path) < 0 ? err_errno(e, "cannot remove the old socket %s", path) : 0;
}

static int prepare_socket(struct nbd *n, struct err *e)
{
	if (n->port)
		return 0;
	if (!n->socket)
		return make_default_socket(n, e);
	n->socket = file_absolute(n->socket);
	return n->socket ? clear_socket(n->socket, e) : err_set(e, -ENOMEM, "no path for the socket");
}

static bool is_loopback(const char *address)
{
	return text_starts(address, "127.") || !strcmp(address, "::1") || !strcmp(address, "localhost");
}

/* ---- the command ---- */

static int become_nbdkit(struct nbd *n, const char *link, struct err *e)
{
	_cleanup_free_ char *plugin = resource_path(PLUGIN, e), *uri = NULL;
	int r;

	if (!plugin)
		return err_add(e, "this inetboot was built without nbdkit's headers (package nbdkit-plugin-dev), or is not complete");
	r = prepare_socket(n, e);
	if (r < 0)
		return r;
	uri = make_uri(n);
	n->words[1] = plugin;
	add_parameter(n, "link", link);
	if (n->export)
		add_parameter(n, "export", n->export);
	if (!find_rest(n, "--run"))
		add_parameter(n, "ready", uri ? uri : "");
	add_log(n);
	add_rest(n);
	add_listening(n);
	if (!uri || n->no_memory)
		return err_set(e, -ENOMEM, "no memory for a command line");
	if (n->port && !is_loopback(n->address) && !find_rest(n, "--tls"))
		log_warning("whoever reaches %s port %s can read this disk", n->address, n->port);
	fflush(NULL);
	signal(SIGPIPE, SIG_DFL); /* what --run starts gets that from us */
	execvp(n->words[0], (char **)n->words);
	if (errno == ENOENT)
		return err_set(e, -ENOENT, "nbdkit is not installed: it is in the package nbdkit");
	return err_errno(e, "cannot start nbdkit");
}

static int take_port(struct nbd *n, const char *value)
{
	uint64_t number;

	if (text_to_u64(value, &number) < 0 || !number || number > UINT16_MAX)
		return cli_usage("nbd", "--port takes a number from 1 to 65535, not '%s'", value);
	n->port = value;
	return 0;
}

static int take_option(struct nbd *n, struct image_option_values *v, int code, const struct option *o)
{
	switch (code) {
	case OPT_SOCKET:
		n->socket = optarg;
		return 0;
	case OPT_PORT:
		return take_port(n, optarg);
	case OPT_ADDRESS:
		n->address = optarg;
		return 0;
	case OPT_EXPORT:
		n->export = optarg;
		return 0;
	case OPT_PACK:
	case OPT_FILL:
		add_parameter(n, o->name, "true");
		return 0;
	default:
		add_parameter(n, o->name, o->has_arg == no_argument ? "true" : optarg);
		return image_option(v, "nbd", code, optarg); /* here is where a wrong one is told about */
	}
}

/* Cuts what is for nbdkit off. */
static int split(int argc, char **argv, char ***rest)
{
	int at = 1;

	while (at < argc && strcmp(argv[at], "--") != 0)
		at++;
	*rest = argv + at + (at < argc);
	argv[at] = NULL;
	return at;
}

int cmd_nbd(int argc, char **argv)
{
	_cleanup_free_ const char **words = calloc((size_t)argc + OWN_WORDS, sizeof(*words));
	struct nbd n = {.words = words, .count = 2};
	struct image_option_values v;
	struct err e = ERR_INIT;
	int code, at = 0;

	if (!words) {
		err_set(&e, -ENOMEM, "no memory for a command line");
		return cli_fail(&e);
	}
	words[0] = "nbdkit";
	argc = split(argc, argv, &n.rest);
	image_options_init(&v);
	while ((code = getopt_long(argc, argv, "h", options, &at)) != -1) {
		if (code == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (code == '?')
			return cli_bad_option("nbd", argv);
		if (take_option(&n, &v, code, &options[at]))
			return EXIT_USAGE;
	}
	if (argc - optind != 1)
		return cli_usage("nbd", "exactly one link is needed (nbdkit's options go behind --)");
	if (n.socket && (n.port || n.address))
		return cli_usage("nbd", "--socket goes without --port and --address");
	if (n.address && !n.port)
		n.port = PORT;
	if (n.port && !n.address)
		n.address = "127.0.0.1";
	become_nbdkit(&n, argv[optind], &e);
	err_add(&e, "cannot serve %s", argv[optind]);
	return cli_fail(&e);
}
