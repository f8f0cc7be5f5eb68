/* What `inetboot medium` and `inetboot install` have in common: their options, and the work
 * (medium/make-medium). One thread. */
#ifndef CLI_MEDIUM_OPTIONS_H
#define CLI_MEDIUM_OPTIONS_H

#include <getopt.h>
#include <stdint.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "publish/tool.h"

enum medium_option_code {
	OPT_MEDIUM_ENTRY = 0x100,
	OPT_MEDIUM_CATALOG,
	OPT_MEDIUM_SCRIPT,
	OPT_MEDIUM_KERNEL,
	OPT_MEDIUM_MODULES,
	OPT_MEDIUM_TIMEOUT,
	OPT_MEDIUM_DEFAULT,
	OPT_MEDIUM_CONSOLE,
	OPT_MEDIUM_OPTIONS,
	OPT_MEDIUM_CACERT,
	OPT_MEDIUM_KEY,
	OPT_MEDIUM_OWN, /* a command's own options without a letter start here */
};

/* For a table of getopt_long(). */
#define MEDIUM_LONG_OPTIONS                                                                        \
	{"entry", required_argument, NULL, OPT_MEDIUM_ENTRY}, \
	{"catalog", required_argument, NULL, OPT_MEDIUM_CATALOG}, \
	{"script", required_argument, NULL, OPT_MEDIUM_SCRIPT}, \
	{"kernel", required_argument, NULL, OPT_MEDIUM_KERNEL}, \
	{"modules", required_argument, NULL, OPT_MEDIUM_MODULES}, \
	{"timeout", required_argument, NULL, OPT_MEDIUM_TIMEOUT}, \
	{"default", required_argument, NULL, OPT_MEDIUM_DEFAULT}, \
	{"console", required_argument, NULL, OPT_MEDIUM_CONSOLE}, \
	{"options", required_argument, NULL, OPT_MEDIUM_OPTIONS}, \
	{"cacert", required_argument, NULL, OPT_MEDIUM_CACERT}, \
	{"key", required_argument, NULL, OPT_MEDIUM_KEY}

/* For --help. */
#define MEDIUM_ENTRIES_HELP                                                                        \
	"      --entry TITLE=LINK     a line of its menu; LINK may name a version (NAME@N). May be repeated\n" \
	"      --catalog TITLE=STORE  a line that shows what a store has when it is chosen: URL, or URL#KEY for images of that key alone\n" \
	"      --script TITLE=URL     a line that runs a script before the system starts; a key must have signed it: URL#KEY, or --key\n"
#define MEDIUM_OPTIONS_HELP                                                                        \
	"      --kernel KERNEL        stock: Debian's signed kernel (default); small: one with all drivers built in, made when first used\n" \
	"      --modules LIST         more modules of the stock kernel, e.g. mlx5_core,hv_netvsc: for cards and disks that it has no driver for else\n" \
	"      --timeout S            start the default entry after so many seconds (default: 10)\n" \
	"      --default N            number of that entry (default: 1)\n" \
	"      --console LIST         what the kernel shows its messages on, e.g. ttyS0,115200;tty0 (default), the last is the main one\n" \
	"      --options TEXT         more kernel options for all entries, such as nodhcp or vlan=5: see inetboot-preboot(7)\n" \
	"      --cacert FILE          trust these certificate authorities for https (default: this system's)\n" \
	"      --key KEY              scripts (iscript=) may be signed by this public key; may be repeated\n"

struct medium {
	const char *out, *format, *kernel, *modules, *console, *options, *cacert;
	const char *more[3]; /* further words for make-medium; NULL: none */
	const char *command; /* whose name is in messages */
	struct buf entries;  /* lines "TITLE<tab>WORD" */
	struct buf keys;     /* lines */
	size_t count;
	uint64_t timeout, chosen;
	struct workspace w;
};

/* Parses a command's line: options, of which `own` takes those from OPT_MEDIUM_OWN on, and the
 * operand, `needed` where it is not exactly one. -1; or the exit status, after having said what is
 * wrong. Values are borrowed from argv. medium_free() in any case. */
int medium_take(struct medium *m, int argc, char **argv, const struct option *options,
	const char *help, cli_take own, void *context, const char *needed);

/* Makes it. */
int medium_make(struct medium *m, struct err *e);

void medium_free(struct medium *m);

#endif
