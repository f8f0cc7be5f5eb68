/* syslog.h and base/log.h have names in common, so this is a file of its own. */
#ifndef NBDKIT_SYSTEM_LOG_H
#define NBDKIT_SYSTEM_LOG_H

/* Connects to the system's log, for who may not do that later: an nbdkit in the background reports errors there. */
void system_log_connect(void);

#endif
