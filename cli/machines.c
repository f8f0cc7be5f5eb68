/* Commands on machines: see machines.h. */
#include "cli/machines.h"

#include <getopt.h>
#include <stdio.h>

#include "cli/cli.h"

int cli_machines(int argc, char **argv, const struct option *options, const char *help,
	int (*work)(const char *name, struct err *e))
{
	int code, status = EXIT_OK;

	code = cli_flags(argc, argv, options, help);
	if (code >= 0)
		return code;
	if (argc == optind)
		return cli_usage(argv[0], "a machine's name is needed: `inetboot ps` lists them");
	for (int i = optind; i < argc; i++) {
		struct err e = ERR_INIT;

		if (work(argv[i], &e) < 0)
			status = cli_fail(&e);
	}
	return status;
}
