/* Request slots: see slots.h. The file: a page of numbers, the texts, the slots. A slot begins with what says that it is in use, and the
 * request lies behind it in the same page. That page is written to before each read(), so that it is there when the kernel copies: a
 * page that is missing then could not be brought in for a process that is being killed, and the request would fail. */
#include "export/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x544f4c5354454e49ULL
#define PAGE 4096u
/* The kernel reads nothing into a buffer that could not hold the longest request: max_write, with what stands before it. */
#define REQUEST_MAX (SLOTS_WRITE_MAX + PAGE)
#define SLOT_SIZE (REQUEST_MAX + PAGE)
#define INTERRUPTS 256
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct slot {
	_Atomic uint64_t unique; /* of the request that is worked on; 0: none. Says nothing about a dead worker's */
	alignas(64) uint8_t request[REQUEST_MAX];
};

struct kept {
	_Atomic uint32_t len;
	uint8_t data[SLOTS_INIT_MAX];
};

struct area {
	uint64_t magic;
	uint32_t version, slots, size;
	_Atomic uint64_t served;
	_Atomic uint32_t init_written;
	struct kept init, reply;
	_Atomic uint32_t interrupts;
	_Atomic uint64_t interrupted[INTERRUPTS];
	_Atomic uint32_t text_len[2];
	_Atomic int32_t passthrough;
	alignas(PAGE) char pin[SLOTS_PIN_MAX];
	char report[SLOTS_REPORT_MAX];
	alignas(PAGE) uint8_t first[];
};

struct slots {
	int fd;
	struct area *area;
};

static const size_t area_size = sizeof(struct area) + (size_t)SLOTS * SLOT_SIZE;

static struct slot *slot_at(const struct slots *s, unsigned n)
{
	return (struct slot *)(s->area->first + (size_t)n * SLOT_SIZE);
}

static struct fuse_in_header *header(struct slot *slot)
{
	return (struct fuse_in_header *)slot->request;
}

static int map(struct slots **out, int fd, struct err *e)
{
	struct slots *s = calloc(1, sizeof(*s));

	if (!s)
		return err_set(e, -ENOMEM, "no memory for requests");
	s->area = mmap(NULL, area_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s->area == MAP_FAILED) {
		free(s);
		return err_errno(e, "no memory for requests");
	}
	s->fd = fd;
	*out = s;
	return 0;
}

int slots_create(struct slots **out, struct err *e)
{
	int fd = memfd_create("inetboot requests", MFD_CLOEXEC | MFD_ALLOW_SEALING), r;

	if (fd < 0 || ftruncate(fd, (off_t)area_size) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		r = err_errno(e, "no memory for requests");
	else
		r = map(out, fd, e);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	(*out)->area->magic = MAGIC;
	(*out)->area->version = SLOTS_VERSION;
	(*out)->area->slots = SLOTS;
	(*out)->area->size = SLOT_SIZE;
	return 0;
}

int slots_adopt(struct slots **out, int fd, struct err *e)
{
	struct slots *s;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || st.st_size != (off_t)area_size || fcntl(fd, F_GET_SEALS) != SEALS)
		return err_set(e, -EINVAL, "these are no requests of a mount, or another version's");
	r = map(&s, fd, e);
	if (r < 0)
		return r;
	if (s->area->magic != MAGIC || (s->area->version != SLOTS_VERSION && s->area->version != SLOTS_VERSION_PASSTHROUGH) || s->area->slots != SLOTS || s->area->size != SLOT_SIZE) {
		s->fd = -1;
		slots_close(s);
		return err_set(e, -EINVAL, "the requests of the mount are another version's");
	}
	*out = s;
	return 0;
}

int slots_fd(const struct slots *s)
{
	return s->fd;
}

void slots_close(struct slots *s)
{
	if (!s)
		return;
	munmap(s->area, area_size);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

void slots_lock(const struct slots *s)
{
	for (unsigned n = 0; n < SLOTS; n++)
		mlock(slot_at(s, n), PAGE);
}

void *slots_request(struct slots *s, unsigned n)
{
	return s->area->first + (size_t)n * SLOT_SIZE + offsetof(struct slot, request);
}

static void clear(struct slot *slot)
{
	__atomic_store_n(&header(slot)->len, 0, __ATOMIC_RELEASE);
	atomic_store(&slot->unique, 0);
}

ssize_t slots_read(struct slots *s, unsigned n, int device)
{
	struct slot *slot = slot_at(s, n);
	ssize_t len;

	clear(slot);
	len = read(device, slots_request(s, n), REQUEST_MAX);
	if (len < 0)
		return -errno;
	if ((size_t)len < sizeof(struct fuse_in_header) || header(slot)->len != (size_t)len)
		return -EIO;
	atomic_store(&slot->unique, header(slot)->unique);
	return len;
}

static bool has_answer(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

size_t slots_left(struct slots *s, unsigned n)
{
	struct slot *slot = slot_at(s, n);
	const struct fuse_in_header *in = header(slot);
	const struct fuse_interrupt_in *interrupt = (const void *)(in + 1);
	uint32_t len = in->len;

	/* The memory may hold anything: what is longer than a slot, or no request at all, is none. */
	if (len < sizeof(*in) || len > REQUEST_MAX)
		return 0;
	if (in->opcode == FUSE_INTERRUPT && len >= sizeof(*in) + sizeof(*interrupt))
		slots_note_interrupt(s, interrupt->unique);
	if (!has_answer(in->opcode)) {
		clear(slot);
		return 0;
	}
	atomic_store(&slot->unique, in->unique);
	return len;
}

bool slots_answered(struct slots *s, uint64_t unique)
{
	for (unsigned n = 0; unique && n < SLOTS; n++)
		if (atomic_load(&slot_at(s, n)->unique) == unique) {
			clear(slot_at(s, n));
			atomic_fetch_add(&s->area->served, 1);
			return true;
		}
	return false;
}

uint64_t slots_served(const struct slots *s)
{
	return atomic_load(&s->area->served);
}

void slots_note_interrupt(struct slots *s, uint64_t unique)
{
	atomic_store(&s->area->interrupted[atomic_fetch_add(&s->area->interrupts, 1) % INTERRUPTS], unique);
}

bool slots_interrupted(const struct slots *s, uint64_t unique)
{
	for (unsigned i = 0; i < INTERRUPTS; i++)
		if (atomic_load(&s->area->interrupted[i]) == unique)
			return true;
	return false;
}

static void keep(struct kept *k, const void *data, size_t len)
{
	if (len > sizeof(k->data))
		return;
	memcpy(k->data, data, len);
	atomic_store(&k->len, (uint32_t)len);
}

void slots_keep_init(struct slots *s, unsigned n, size_t len)
{
	if (!atomic_load(&s->area->init.len))
		keep(&s->area->init, slots_request(s, n), len);
}

size_t slots_init(const struct slots *s, void *out)
{
	uint32_t len = atomic_load(&s->area->init.len);

	if (len < sizeof(struct fuse_in_header) || len > SLOTS_INIT_MAX)
		return 0;
	memcpy(out, s->area->init.data, len);
	return len;
}

bool slots_is_init(const struct slots *s, uint64_t unique)
{
	const struct fuse_in_header *in = (const void *)s->area->init.data;

	return atomic_load(&s->area->init.len) >= sizeof(*in) && in->unique == unique;
}

enum slots_init_reply slots_init_answer(struct slots *s, const void *reply, size_t len)
{
	struct kept *k = &s->area->reply;

	if (!atomic_load(&s->area->init_written)) {
		keep(k, reply, len);
		return SLOTS_INIT_FIRST;
	}
	return atomic_load(&k->len) == len && len <= sizeof(k->data) && !memcmp(k->data, reply, len) ? SLOTS_INIT_SAME : SLOTS_INIT_OTHER;
}

void slots_init_written(struct slots *s)
{
	atomic_store(&s->area->init_written, 1);
}

int32_t slots_passthrough(const struct slots *s)
{
	return atomic_load(&s->area->passthrough);
}

void slots_set_passthrough(struct slots *s, int32_t number)
{
	if (number > 0)
		s->area->version = SLOTS_VERSION_PASSTHROUGH;
	atomic_store(&s->area->passthrough, number);
}

static char *text_at(const struct slots *s, enum slots_text which, size_t *room)
{
	*room = which == SLOTS_PIN ? SLOTS_PIN_MAX : SLOTS_REPORT_MAX;
	return which == SLOTS_PIN ? s->area->pin : s->area->report;
}

int slots_set_text(struct slots *s, enum slots_text which, const void *text, size_t len)
{
	size_t room;
	char *at = text_at(s, which, &room);

	if (len > room)
		return -EFBIG;
	if (len)
		memcpy(at, text, len);
	atomic_store(&s->area->text_len[which], (uint32_t)len);
	return 0;
}

char *slots_text(const struct slots *s, enum slots_text which, size_t *len)
{
	size_t room, n = atomic_load(&s->area->text_len[which]);
	const char *at = text_at(s, which, &room);
	char *copy;

	n = n < room ? n : room; /* whatever stands there */
	copy = malloc(n + 1);
	if (!copy)
		return NULL;
	memcpy(copy, at, n);
	copy[n] = 0;
	if (len)
		*len = n;
	return copy;
}
