/* Commands on machines: see machines.h. */
#include "cli/machines.h"

#include <getopt.h>
#include <stdio.h>

#include "cli/cli.h"

int cli_machines(const char *command, int argc, char **argv, const struct option *options, const char *help,
	int (*work)(const char *name, struct err *e))
{
	int code, status = EXIT_OK;

	while ((code = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (code == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (code == '?')
			return cli_bad_option(command, argv);
	}
	if (argc == optind)
		return cli_usage(command, "a machine's name is needed: `inetboot ps` lists them");
	for (int i = optind; i < argc; i++) {
		struct err e = ERR_INIT;

		if (work(argv[i], &e) < 0)
			status = cli_fail(&e);
	}
	return status;
}
