/* Named machines: what `boot --name` keeps of each, in a folder $XDG_STATE_HOME/inetboot/machines/NAME of mode 0700:
 *
 *	machine.json	what it is booted with: struct named_settings
 *	lock		locked (fcntl) by the process that runs, changes or removes it
 *	overlay		its writes as blocks: a copy-on-write file (cow.h)
 *	writes		its writes as files: an ext4 file system (writes.h)
 *	console.log	what its console said, when it last ran in the background
 *	control		a socket, while it runs (control.h)
 *
 * Names are as name_valid() has them, so they are good as names of files. Any thread; but a process must open a machine's lock once only: who closes
 * any descriptor of a file lets go of all of its locks. */
#ifndef MACHINE_NAMED_H
#define MACHINE_NAMED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/sha256.h"

enum writes { WRITES_UNSET, WRITES_NONE, WRITES_FILES, WRITES_BLOCKS };

struct named_settings {
	char *link;		  /* as it was given; paths made absolute; owned */
	uint64_t version;	  /* of the store's image that it stays on; 0: the link names no image in a store, or a version by itself */
	char root[HASH_HEX_MAX];  /* that version's root hash; or "" */
	enum writes writes;
	char *network, *append;	  /* as given to boot; NULL: not; owned */
	char *engine;		  /* as given when it was made (engine.h); NULL: not; owned */
	uint64_t memory;	  /* bytes */
	bool trusted;
};

/* "files", "blocks", "none"; WRITES_UNSET for another word. */
enum writes writes_of(const char *word);
const char *writes_word(enum writes w);

struct named {
	char *dir; /* owned */
	int lock;
	bool made; /* it was not there before */
};

#define NAMED_INIT {.lock = -1}

/* Opens and locks it; make: where there is none, too. -ENOENT; -EBUSY: somebody runs or changes it. */
int named_open(struct named *n, const char *name, bool make, struct err *e);
/* A machine that was made and never got settings goes. */
void named_close(struct named *n);
/* Removes all of it, and closes. */
int named_remove(struct named *n, struct err *e);

/* -ENOENT where it has none yet; -EBADMSG. Free them in any case. */
int named_load(const char *dir, struct named_settings *s, struct err *e);
int named_save(const struct named *n, const struct named_settings *s, struct err *e);
void named_settings_free(struct named_settings *s);

/* Its folder, whether it exists or not; allocated, NULL and e set. */
char *named_dir(const char *name, struct err *e);
/* The process that runs it, or 0. */
pid_t named_pid(const char *dir);
/* The same by its name: -ENOENT where there is no such machine; 0: it does not run. */
int named_find(const char *name, pid_t *pid, struct err *e);
/* The address of its network device: always the same. */
#define MAC_TEXT_MAX 18
void named_mac(const char *name, char out[MAC_TEXT_MAX]);
/* All names, sorted; NULL-terminated. Free each and the list. */
int named_list(char ***names, struct err *e);

#endif
