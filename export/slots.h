/* The requests that a worker has taken from the kernel, in memory that outlives it. A worker reads /dev/fuse straight into a slot. The
 * kernel hands a request out once; but it has filled the slot completely by then, whatever happens to the process, because a killed
 * thread ends only when it comes out of the system call. A slot is cleared when the answer has been written. So what stands in the slots
 * when a worker is gone is what the kernel waits for; the next one begins with it. An answer that the kernel has had already is refused
 * by it (ENOENT), which does no harm: the disk is read-only.
 *
 * Kept as well: the first request of all (FUSE_INIT) with its answer, which each new session has to be told and the kernel no more;
 * which requests the kernel wanted to be interrupted; whether the kernel reads a file by itself (passthrough.h); and two texts of the
 * worker's: see worker.h.
 *
 * A file in memory (memfd) of a fixed size: it is passed on to a new program, and nobody can cut it off below a reader. What is in it was
 * written by a process that parses what comes from outside: lengths are checked wherever they are read.
 *
 * Each slot belongs to one thread, which calls slots_read() and slots_left() for it; all else is for any thread. */
#ifndef EXPORT_SLOTS_H
#define EXPORT_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "disk/pin.h"

#define SLOTS 48		       /* requests at once */
#define SLOTS_WRITE_MAX (1u << 20)     /* bytes: max_write, which bounds what the kernel reads at once, too */
#define SLOTS_VERSION 1		       /* of what is in the file, the pin (disk/pin.h) included: who has another cannot take over */
#define SLOTS_VERSION_PASSTHROUGH 2    /* the same, once there is a number from slots_set_passthrough(): version 1's programs do not know of it */
#define SLOTS_PIN_MAX PIN_MAX
#define SLOTS_REPORT_MAX (64u << 10)   /* bytes */

struct slots;

/* New ones, empty. */
int slots_create(struct slots **out, struct err *e);
/* Those behind a file descriptor, which is taken over on success. -EINVAL for anything but such a file of this version. */
int slots_adopt(struct slots **out, int fd, struct err *e);
int slots_fd(const struct slots *s);
void slots_close(struct slots *s); /* NULL is fine */

/* For who reads requests: keeps the slots' first pages in memory, as far as the limits allow it. */
void slots_lock(const struct slots *s);

/* Room of slot n's request. */
void *slots_request(struct slots *s, unsigned n);

/* Reads a request into slot n. Its length, or -errno of read(). */
ssize_t slots_read(struct slots *s, unsigned n, int device);

/* The length of what a worker that is gone left in slot n; 0: nothing, or nothing that has an answer. */
size_t slots_left(struct slots *s, unsigned n);

/* Request `unique` has been answered. Says whether it was in a slot. */
bool slots_answered(struct slots *s, uint64_t unique);

/* How many have been since there are slots. */
uint64_t slots_served(const struct slots *s);

/* The kernel wants request `unique` interrupted; did it? (Of the latest 256.) */
void slots_note_interrupt(struct slots *s, uint64_t unique);
bool slots_interrupted(const struct slots *s, uint64_t unique);

/* What was read into slot n is FUSE_INIT: keeps it. */
void slots_keep_init(struct slots *s, unsigned n, size_t len);
/* The length of FUSE_INIT, copied to `out` (SLOTS_INIT_MAX bytes); 0: there was none yet. */
#define SLOTS_INIT_MAX 512
size_t slots_init(const struct slots *s, void *out);
/* Is this its unique number? */
bool slots_is_init(const struct slots *s, uint64_t unique);

enum slots_init_reply {
	SLOTS_INIT_FIRST, /* kept: write it */
	SLOTS_INIT_SAME,  /* the kernel has it */
	SLOTS_INIT_OTHER, /* the kernel has another one */
};
/* A session's answer to it. */
enum slots_init_reply slots_init_answer(struct slots *s, const void *reply, size_t len);
void slots_init_written(struct slots *s);

/* The number of the file that the kernel reads for `disk`; SLOTS_NO_PASSTHROUGH: none, and that stays so; 0: not decided. */
#define SLOTS_NO_PASSTHROUGH (-1)
int32_t slots_passthrough(const struct slots *s);
void slots_set_passthrough(struct slots *s, int32_t number);

enum slots_text { SLOTS_PIN, SLOTS_REPORT };
/* Sets a text. -EFBIG when it is too long. */
int slots_set_text(struct slots *s, enum slots_text which, const void *text, size_t len);
/* A copy of it with a zero behind; allocated; NULL without memory. Its length goes to *len, where that is not NULL. */
char *slots_text(const struct slots *s, enum slots_text which, size_t *len);

#endif
