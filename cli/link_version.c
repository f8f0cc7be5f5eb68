/* What a link means today: see link_version.h. The process reports through a pipe, one line of JSON: {"error": TEXT} or {"version": N, "root":
 * TEXT}. */
#include "cli/link_version.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "disk/confine.h"

#define REPORT_MAX 8192

__attribute__((noreturn)) static void look(const char *link, const struct image_options *o, int fd)
{
	char root[HASH_HEX_MAX] = "";
	struct image *image = NULL;
	struct err e = ERR_INIT;
	json_t *report;
	char *text;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (image_confine(link, o, &e) < 0 || image_open(&image, link, o, &e) < 0) {
		report = json_pack("{s:s}", "error", e.text);
	} else {
		if (image->in_store)
			hash_hex(&image->manifest.image.root, root);
		report = json_pack("{s:I, s:s}", "version", (json_int_t)(image->in_store ? image->manifest.version : 0), "root", root);
	}
	text = report ? json_dumps(report, JSON_COMPACT) : NULL;
	if (text)
		file_write(fd, text, strlen(text));
	_exit(!text);
}

static int take_report(const char *text, size_t len, struct link_version *out, struct err *e)
{
	json_t *report = json_loadb(text, len, 0, NULL);
	const char *error = json_string_value(json_object_get(report, "error"));
	const char *root = json_string_value(json_object_get(report, "root"));
	int r = 0;

	if (error)
		r = err_set(e, -EIO, "%s", error);
	else if (!root || strlen(root) >= sizeof(out->root))
		r = err_set(e, -EIO, "the process that looks the link up ended without a word");
	if (!r) {
		strcpy(out->root, root);
		out->version = (uint64_t)json_integer_value(json_object_get(report, "version"));
	}
	json_decref(report);
	return r;
}

int link_version(const char *link, const struct image_options *o, struct link_version *out, struct err *e)
{
	_cleanup_free_ char *text = malloc(REPORT_MAX);
	int fds[2];
	ssize_t n;
	pid_t pid;

	*out = (struct link_version){0};
	if (!text || pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(e, "cannot look the link up");
	pid = fork();
	if (!pid) {
		close(fds[0]);
		look(link, o, fds[1]);
	}
	close(fds[1]);
	n = pid > 0 ? file_read(fds[0], text, REPORT_MAX) : -errno;
	close(fds[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return n < 0 ? err_set(e, (int)n, "cannot look the link up: %s", strerror((int)-n)) : take_report(text, (size_t)n, out, e);
}
