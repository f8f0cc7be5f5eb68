/* inetboot rm: the end of what a named machine kept. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/machines.h"
#include "machine/named.h"

static const char help[] = "Usage: inetboot rm [--yes] NAME...\n\n"
			   "Removes machines, with all that they wrote. Those that run are refused.\n\n"
			   "  --yes   do not ask\n"
			   "  --help  this text\n";

static int yes;

static int ask(const char *name, struct err *e)
{
	int answer, c;

	if (yes)
		return 0;
	if (!isatty(STDIN_FILENO))
		return err_set(e, -EPERM, "nobody is here to be asked whether all that %s wrote may go: --yes says so", name);
	fprintf(stderr, "Remove the machine %s, with all that it wrote? [y/N] ", name);
	answer = getchar();
	for (c = answer; c != '\n' && c != EOF;)
		c = getchar();
	return answer == 'y' || answer == 'Y' ? 0 : err_set(e, -ECANCELED, "the machine %s stays", name);
}

static int work(const char *name, struct err *e)
{
	struct named n;
	int r = named_open(&n, name, false, e);

	if (!r)
		r = ask(name, e);
	if (r < 0) {
		named_close(&n);
		return r;
	}
	r = named_remove(&n, e);
	if (!r)
		log_info("%s is removed", name);
	return r;
}

int cmd_rm(int argc, char **argv)
{
	static const struct option options[] = {{"yes", no_argument, &yes, 1}, {"help", no_argument, NULL, 'h'}, {0}};

	return cli_machines(argc, argv, options, help, work);
}
