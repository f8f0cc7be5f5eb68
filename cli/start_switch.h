/* Starting a network's switch on demand. */
#ifndef CLI_START_SWITCH_H
#define CLI_START_SWITCH_H

#include "base/err.h"

/* For meeting_join(): a switch that ends after its last guest. It is silent: our messages' reader may be gone before it. */
int cli_start_switch(const char *network, struct err *e);

#endif
