/* The option --network. */
#include <string.h>

#include "cli/cli.h"
#include "network/meeting.h"
#include "network/names.h"

int cli_network(const char *command, const char *name)
{
	if (strlen(name) <= NETWORK_NAME_MAX && name_valid(name) && strcmp(name, "none"))
		return 0;
	return cli_usage(command, "--network takes a name of up to %d small letters, digits and '-', not '%s'", NETWORK_NAME_MAX, name);
}
