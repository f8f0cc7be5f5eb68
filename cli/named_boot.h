/* The named machine of `boot --name`: its folder, and what is kept there, from before the start to the end. */
#ifndef CLI_NAMED_BOOT_H
#define CLI_NAMED_BOOT_H

#include "machine/machine.h"
#include "machine/named.h"
#include "machine/shared_feed.h"

struct named_boot {
	struct named named;
	struct named_settings settings; /* complete, from named_boot_open() on */
	char mac[MAC_TEXT_MAX];
	/* from named_boot_keep() on */
	char *link;			/* what to boot: the settings', at their version; owned */
	char *overlay, *writes, *log;	/* paths; the first two NULL where it keeps none; owned */
	int control;
};

#define NAMED_BOOT_INIT {.named = NAMED_INIT, .control = -1}

/* Opens the machine, or makes it. `wanted` is what the command line says, empty where it says nothing; it replaces what was kept, but for the
 * link and the writes: others than a machine's are refused. Call while the process has one thread; and in the process that will run it. In
 * any case named_boot_close() is to be called. */
int named_boot_open(struct named_boot *nb, const char *name, const struct named_settings *wanted, const struct image_options *o,
	struct err *e);
/* Keeps the settings, once nobody refuses them, and makes what it starts with. */
int named_boot_keep(struct named_boot *nb, struct err *e);
void named_boot_close(struct named_boot *nb);

#endif
