/* inetboot status: what mounted images do. A mount whose process hangs must not hang who asks: its file is read by a child, which gets
 * READ_MS. Who looks for all mounts does not touch any that is not ours. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mounts.h"
#include "base/text.h"
#include "cli/cli.h"

#define READ_MS 5000
#define STATUS_MAX (1u << 20) /* bytes: mirrors are what makes it long, and there are 128 at most */

static const char help[] =
	"Usage: inetboot status [--json] [DIR]\n\n"
	"Shows what the image mounted at DIR does, or all that are mounted here: whether it waits for the network and why, how its\n"
	"mirrors are, what the cache holds.\n\n"
	"  --json               the status file as it is; without DIR, an object with one member a mount\n"
	"  --help               this text\n\n"
	"Example: inetboot status /mnt\n";

/* ---- reading ---- */

/* The child's end: what it writes is the status, its exit status an errno. It may have to be left behind: whoever reads our output must not wait
 * for it, so it has nothing open but its end of the pipe. */
__attribute__((noreturn)) static void copy_out(const char *path, int to)
{
	_cleanup_buf_ struct buf text = BUF_INIT(STATUS_MAX);
	int r = dup2(to, 0) < 0 || close_range(1, ~0u, 0) < 0 ? -errno : 0;

	if (!r)
		r = file_load(AT_FDCWD, path, &text, NULL);
	if (!r)
		r = file_write(0, text.data, text.len);
	_exit(r < 0 ? -r : 0);
}

/* Takes in what comes until the end, or until READ_MS have passed. */
static int take_in(int from, struct buf *out)
{
	uint64_t end = clock_ms() + READ_MS, now;
	struct pollfd wait = {.fd = from, .events = POLLIN};

	for (;;) {
		char part[4096];
		ssize_t n;

		now = clock_ms();
		if (now >= end)
			return -ETIMEDOUT;
		if (poll(&wait, 1, (int)(end - now)) <= 0)
			continue;
		n = read(from, part, sizeof(part));
		if (n == 0)
			return 0;
		if (n < 0 || buf_append(out, part, (size_t)n) < 0)
			return n < 0 ? -errno : -EFBIG;
	}
}

static int read_in_child(const char *path, struct buf *out)
{
	int fds[2], status, r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	fflush(NULL);
	pid = fork();
	if (!pid)
		copy_out(path, fds[1]);
	r = pid < 0 ? -errno : 0;
	close(fds[1]);
	if (!r)
		r = take_in(fds[0], out);
	close(fds[0]);
	if (pid < 0)
		return r;
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, WNOHANG); /* one that cannot even be killed is left alone */
		return r;
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

static json_t *load(const char *dir, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(STATUS_MAX);
	_cleanup_free_ char *path = file_path("%s/status", dir);
	json_t *out = NULL;
	int r = path ? read_in_child(path, &text) : -ENOMEM;

	if (!r)
		out = json_loadb((char *)text.data, text.len, 0, NULL);
	if (r == -ETIMEDOUT)
		err_set(e, r, "%s does not answer within %d s", dir, READ_MS / 1000);
	else if (r == -ENOENT || r == -ENOTDIR)
		err_set(e, r, "no image is mounted at %s", dir);
	else if (r < 0)
		err_set(e, r, "%s: %s", dir, r == -ENOTCONN ? "its process has ended" : strerror(-r));
	else if (!json_is_object(out))
		err_set(e, -EBADMSG, "what %s/status says is no status", dir);
	if (json_is_object(out))
		return out;
	json_decref(out);
	return NULL;
}

/* ---- printing ---- */

static double number(json_t *from, const char *key)
{
	return json_number_value(json_object_get(from, key));
}

/* What a status quotes came from outside. */
static char *clean(json_t *from, const char *key)
{
	const char *text = json_string_value(json_object_get(from, key));
	char *copy = strdup(text ? text : "");

	if (copy)
		text_clean(copy);
	return copy;
}

static void print_text(const char *what, json_t *from, const char *key)
{
	_cleanup_free_ char *text = clean(from, key);

	if (text && *text)
		printf("  %-10s %s\n", what, text);
}

static const char *size(char out[TEXT_SIZE_MAX], double bytes)
{
	text_size(out, bytes > 0 ? (uint64_t)bytes : 0);
	return out;
}

static void print_image(json_t *status)
{
	_cleanup_free_ char *name = clean(status, "name"), *filesystem = clean(status, "filesystem");

	print_text("link", status, "link");
	if (!name || !*name || !filesystem)
		return;
	printf("  %-10s %s version %.0f, %s%s%s%s\n", "image", name, number(status, "version"), filesystem, *filesystem ? ", " : "",
		json_is_true(json_object_get(status, "verified")) ? "signature good" : "signature not checked",
		json_is_true(json_object_get(status, "from_copy")) ? ", manifest from the cache" : "");
}

static void print_network(json_t *network)
{
	_cleanup_free_ char *reason = clean(network, "reason");
	char bytes[TEXT_SIZE_MAX], extra[TEXT_SIZE_MAX];
	double gone = number(network, "gone"), waiting = number(network, "waiting_s");

	if (!network)
		return;
	if (waiting > 0)
		printf("  %-10s no answer for %.0f s, %.0f requests wait: %s\n", "network", waiting, gone, reason ? reason : "");
	else if (gone > 0)
		printf("  %-10s %.0f requests wait for their next try\n", "network", gone);
	else
		printf("  %-10s answers\n", "network");
	printf("  %-10s %.0f requests, %s, %.0f asked again, %.0f wrong; %.0f late ones asked twice (%s for nothing)\n", "",
		number(network, "requests"), size(bytes, number(network, "bytes")), number(network, "retries"), number(network, "bad"),
		number(network, "hedges"), size(extra, number(network, "hedge_bytes")));
}

static void print_mirror(json_t *m)
{
	_cleanup_free_ char *url = clean(m, "url"), *state = clean(m, "state"), *error = clean(m, "last_error");
	char bytes[TEXT_SIZE_MAX], rate[TEXT_SIZE_MAX];

	if (!url || !state || !error)
		return;
	printf("  %-10s %s\n", "mirror", url);
	printf("  %-10s %s, %.0f %% of the answers, %s; %.0f requests, %.0f errors, %.0f not found\n", "", state, number(m, "share"),
		size(bytes, number(m, "bytes")), number(m, "requests"), number(m, "errors"), number(m, "not_found"));
	if (number(m, "latency_ms") > 0)
		printf("  %-10s latency %.1f ms, 95 %% within %.1f ms, %s/s; %.0f of %.0f late requests of others answered first\n", "",
			number(m, "latency_ms"), number(m, "latency_p95_ms"), size(rate, number(m, "bytes_per_s")),
			number(m, "hedges_won"), number(m, "hedges"));
	if (*error)
		printf("  %-10s last error: %s\n", "", error);
}

static void print_background(json_t *status)
{
	json_t *pack = json_object_get(status, "pack"), *fill = json_object_get(status, "fill");
	_cleanup_free_ char *given_up = clean(pack, "given_up"), *state = clean(fill, "state"), *reason = clean(fill, "reason");
	char bytes[TEXT_SIZE_MAX], all[TEXT_SIZE_MAX];

	if (pack && given_up)
		printf("  %-10s %s of %s fetched, %.0f of %.0f segments here, %.0f pages read; %.0f reads waited for it, %.0f passed it by%s%s\n",
			"boot pack", size(bytes, number(pack, "bytes")), size(all, number(pack, "size")), number(pack, "here"),
			number(pack, "segments"), number(pack, "pages_read"), number(pack, "waits"), number(pack, "passed_by"),
			*given_up ? "; given up: " : "", given_up);
	if (fill && state && reason)
		printf("  %-10s %s%s%s\n", "fill", state, *reason ? ": " : "", reason);
}

static void print_unpacked(json_t *status)
{
	_cleanup_free_ char *path = clean(status, "unpacked"), *failed = clean(status, "unpacked_failed");

	if (failed && *failed)
		printf("  %-10s %s could not be read; going on with blocks\n", "unpacked", failed);
	else if (path && *path)
		printf("  %-10s %s%s\n", "unpacked", path,
			json_is_true(json_object_get(status, "passthrough")) ? ", read by the kernel itself: not counted here" : "");
}

static void print_local(json_t *status)
{
	json_t *cache = json_object_get(status, "cache"), *memory = json_object_get(status, "memory");
	_cleanup_free_ char *dir = clean(cache, "dir"), *state = clean(cache, "state");
	char bytes[TEXT_SIZE_MAX], peak[TEXT_SIZE_MAX];

	if (cache && dir && state)
		printf("  %-10s %s%s%s: %s, %.0f blocks found there, %.0f not, %.0f could not be written\n", "cache", dir,
			*state ? ", " : "", state, size(bytes, number(cache, "bytes")), number(cache, "hits"), number(cache, "misses"),
			number(cache, "write_errors"));
	print_unpacked(status);
	if (memory)
		printf("  %-10s %s of blocks, %s at most so far\n", "memory", size(bytes, number(memory, "bytes")),
			size(peak, number(memory, "peak")));
	printf("  %-10s %.0f, %s; %.0f failed\n", "reads", number(status, "reads"), size(bytes, number(status, "read_bytes")),
		number(status, "read_errors"));
	print_text("last error", status, "last_error");
	print_text("sandbox", status, "sandbox");
}

static void print_status(const char *dir, json_t *status)
{
	json_t *mirror;
	size_t i;

	printf("%s\n", dir);
	print_image(status);
	print_network(json_object_get(status, "network"));
	json_array_foreach (json_object_get(status, "mirrors"), i, mirror)
		print_mirror(mirror);
	print_background(status);
	print_local(status);
}

/* ---- which mounts ---- */

static int show_one(const char *dir, bool json)
{
	struct err e = ERR_INIT;
	json_t *status = load(dir, &e);

	if (!status)
		return cli_fail(&e);
	if (json) {
		json_dumpf(status, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_status(dir, status);
	}
	json_decref(status);
	return EXIT_OK;
}

/* Adds one to `all`, or prints it. */
static int show_another(const char *dir, json_t *all, bool first)
{
	struct err e = ERR_INIT;
	json_t *status = load(dir, &e);

	if (e.code == -ENOENT) /* unmounted since */
		return EXIT_OK;
	if (!status)
		return cli_fail(&e);
	if (all) {
		json_object_set_new(all, dir, status);
		return EXIT_OK;
	}
	if (!first)
		putchar('\n');
	print_status(dir, status);
	json_decref(status);
	return EXIT_OK;
}

static int show_all(bool json)
{
	_cleanup_fclose_ FILE *list = mounts_open();
	_cleanup_(mounts_free) struct mount_entry m = {0};
	json_t *all = json ? json_object() : NULL;
	int found = 0, result = EXIT_OK;

	while (list && mounts_next(list, &m)) {
		if (strcmp(m.type, "fuse.inetboot") != 0)
			continue;
		if (show_another(m.dir, all, !found) != EXIT_OK)
			result = EXIT_FAILED;
		found++;
	}
	if (all) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(all);
	} else if (!found) {
		printf("no image is mounted here\n");
	}
	return result;
}

int cmd_status(int argc, char **argv)
{
	static int json;
	static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {"json", no_argument, &json, 1}, {0}};
	int c;

	c = cli_flags(argc, argv, options, help);
	if (c >= 0)
		return c;
	if (argc - optind > 1)
		return cli_usage("status", "one folder at most");
	return optind < argc ? show_one(argv[optind], json) : show_all(json);
}
