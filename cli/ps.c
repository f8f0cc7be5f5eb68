/* inetboot ps: the machines that have a name. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "machine/named.h"

static const char help[] = "Usage: inetboot ps [--json]\n\n"
			   "Lists the machines that were started with `inetboot boot --name NAME`, running or not: the process that runs each, the\n"
			   "version of its image, how it keeps what it writes and how much that takes on this disk, and its link.\n\n"
			   "  --json  for programs\n"
			   "  --help  this text\n";

struct row {
	const char *name;
	pid_t pid; /* 0: it does not run */
	struct named_settings s;
	uint64_t bytes; /* on the disk */
};

static uint64_t bytes_of(const char *dir, enum writes w)
{
	_cleanup_free_ char *path = file_path("%s/%s", dir, w == WRITES_BLOCKS ? "overlay" : "writes");
	struct stat st;

	return path && w != WRITES_NONE && !stat(path, &st) ? (uint64_t)st.st_blocks * 512 : 0;
}

static int look(struct row *row, const char *name, struct err *e)
{
	_cleanup_free_ char *dir = named_dir(name, e);
	int r;

	*row = (struct row){.name = name};
	if (!dir)
		return -ENOMEM;
	r = named_load(dir, &row->s, e);
	if (!r) {
		row->pid = named_pid(dir);
		row->bytes = bytes_of(dir, row->s.writes);
	}
	return r;
}

static void print(const struct row *row)
{
	char pid[24] = "-", version[24] = "-", bytes[TEXT_SIZE_MAX] = "-";

	if (row->pid)
		snprintf(pid, sizeof(pid), "%ld", (long)row->pid);
	if (row->s.version)
		snprintf(version, sizeof(version), "%" PRIu64, row->s.version);
	if (row->s.writes != WRITES_NONE)
		text_size(bytes, row->bytes);
	printf("%-16s %-8s %-7s %-7s %-6s %10s  %s\n", row->name, row->pid ? "running" : "stopped", pid, version, writes_word(row->s.writes), bytes,
		row->s.link);
}

static json_t *describe(const struct row *row)
{
	return json_pack("{s:s, s:I, s:s, s:I, s:s, s:s, s:I, s:s*}", "name", row->name, "pid", (json_int_t)row->pid, "link", row->s.link, "version",
		(json_int_t)row->s.version, "root", row->s.root, "writes", writes_word(row->s.writes), "bytes", (json_int_t)row->bytes, "network",
		row->s.network);
}

/* A machine that is just being made, or removed, has no settings and no line. */
static int list(char **names, json_t *out)
{
	int status = EXIT_OK;

	if (!out && *names)
		printf("%-16s %-8s %-7s %-7s %-6s %10s  %s\n", "NAME", "STATE", "PID", "VERSION", "WRITES", "SIZE", "LINK");
	for (; *names; names++) {
		struct err e = ERR_INIT;
		struct row row;
		int r = look(&row, *names, &e);

		if (!r && out)
			json_array_append_new(out, describe(&row));
		else if (!r)
			print(&row);
		else if (r != -ENOENT)
			status = cli_fail(&e);
		named_settings_free(&row.s);
	}
	return status;
}

int cmd_ps(int argc, char **argv)
{
	static int json;
	static const struct option options[] = {{"json", no_argument, &json, 1}, {"help", no_argument, NULL, 'h'}, {0}};
	struct err e = ERR_INIT;
	char **names;
	json_t *out;
	int code, status;

	code = cli_flags(argc, argv, options, help);
	if (code >= 0)
		return code;
	if (argc != optind)
		return cli_usage("ps", "it takes no arguments");
	if (named_list(&names, &e) < 0)
		return cli_fail(&e);
	out = json ? json_array() : NULL;
	status = list(names, out);
	if (out) {
		json_dumpf(out, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(out);
	}
	for (char **name = names; *name; name++)
		free(*name);
	free(names);
	return status;
}
