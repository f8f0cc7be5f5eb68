/* The system's log: see system_log.h. */
#include "export/nbdkit/system_log.h"

#include <stddef.h>
#include <syslog.h>

void system_log_connect(void)
{
	openlog(NULL, LOG_NDELAY, LOG_DAEMON);
}
