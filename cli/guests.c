/* inetboot guests: on a system that a boot medium started, hands over to the script that it left there (medium/guests). */
#include <errno.h>
#include <unistd.h>

#include "cli/cli.h"

#define SCRIPT "/run/initramfs/inetboot/guests"

int cmd_guests(int argc, char **argv)
{
	struct err e = ERR_INIT;

	execv(SCRIPT, argv);
	if (errno == ENOENT)
		err_set(&e, -ENOENT, "this system was not started from a boot medium: `inetboot boot` starts guests here");
	else
		err_errno(&e, "cannot run " SCRIPT);
	return cli_fail(&e);
}
