/* Makes one call of a program fail: a library for LD_PRELOAD.
 *
 *	INJECT="KIND N ERRNO STICKY"	the N-th call of this kind fails with ERRNO (a number); N 0: calls are only counted.
 *					STICKY 1: so do all that follow
 *	INJECT_STATE=FILE		zeros before the run, struct state behind it: shared by all processes of
 *					the run, so that calls are counted per tree of processes
 *	INJECT_PROGRAM=PATH		only this program is hit, not what it starts
 *	INJECT_FROM=NAME		only calls from the shared object whose path has NAME in it; default: the main program
 *
 * Only calls from one object count, told by their return addresses: our own code, or one library whose failures our code has to bear.
 * glibc's own allocations are left alone (its start-up ends the program, and
 * rightly so); what allocates inside of it for its caller (strdup, asprintf, opendir, ...) fails here as one call of the kind `memory`. */
#undef _FILE_OFFSET_BITS /* or fopen would mean fopen64 here; the program calls those with 64 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define RANGES_MAX 8
#define SITES_MAX 8192 /* calls whose origin is noted */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

enum kind { NONE, MEMORY, WRITE, SHORT, SYNC, RENAME, OPEN, FOLDER, LINK, THREAD, READ };
static const char *const names[] = {"none", "memory", "write", "short", "sync", "rename", "open", "folder", "link", "thread", "read"};

struct state {
	_Atomic uint64_t calls; /* of the kind */
	_Atomic uint64_t failed;
	uint64_t address;       /* of the first that failed, in its object */
	uint64_t loaded;        /* 1: this library was at work */
	uint64_t sites[SITES_MAX]; /* where the calls came from, if none is to fail */
};

static struct state *state;
static enum kind wanted;
static uint64_t at;
static int code;
static bool sticky;
static struct {
	uintptr_t start, end, base;
} ranges[RANGES_MAX];
static size_t range_count;

static int add_object(struct dl_phdr_info *info, size_t size __attribute__((unused)), void *context)
{
	const char *from = context;

	if (from ? !strstr(info->dlpi_name, from) : *info->dlpi_name)
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum && range_count < RANGES_MAX; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		ranges[range_count].base = info->dlpi_addr;
		ranges[range_count].start = info->dlpi_addr + p->p_vaddr;
		ranges[range_count++].end = info->dlpi_addr + p->p_vaddr + p->p_memsz;
	}
	return 1;
}

static bool right_program(void)
{
	const char *want = getenv("INJECT_PROGRAM");
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	return !want || (n > 0 && (size_t)n == strlen(want) && !memcmp(path, want, (size_t)n));
}

__attribute__((constructor)) static void begin(void)
{
	const char *order = getenv("INJECT"), *file = getenv("INJECT_STATE");
	char name[16];
	void *memory;
	int n, sticks;

	if (!order || !file || !right_program() || sscanf(order, "%15s %lu %d %d", name, &at, &code, &sticks) != 4)
		return;
	sticky = sticks;
	for (enum kind k = MEMORY; k <= READ; k++)
		if (!strcmp(name, names[k]))
			wanted = k;
	dl_iterate_phdr(add_object, getenv("INJECT_FROM"));
	n = open(file, O_RDWR | O_CLOEXEC);
	memory = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, n, 0);
	if (memory == MAP_FAILED || !wanted || !range_count) {
		fprintf(stderr, "inject: cannot do %s with %s\n", order, file);
		abort();
	}
	close(n);
	state = memory;
	state->loaded = 1;
}

/* Shall this call fail? Sets errno then. */
static bool hit(enum kind kind, void *return_address)
{
	uintptr_t from = (uintptr_t)return_address;
	uint64_t number;

	if (!state || kind != wanted)
		return false;
	for (size_t i = 0; i < range_count; i++) {
		if (from < ranges[i].start || from >= ranges[i].end)
			continue;
		number = atomic_fetch_add(&state->calls, 1) + 1;
		if (!at && number <= SITES_MAX)
			state->sites[number - 1] = from - ranges[i].base;
		if (!at || (number != at && !(sticky && number > at)))
			return false;
		if (!atomic_fetch_add(&state->failed, 1))
			state->address = from - ranges[i].base - 1;
		errno = code;
		return true;
	}
	return false;
}

#define HIT(kind) hit(kind, __builtin_return_address(0))
#define NEXT(f)                                                                                                                        \
	static __typeof__(f) *next;                                                                                                    \
	if (!next)                                                                                                                     \
	next = (__typeof__(f) *)dlsym(RTLD_NEXT, #f)

/* ---- memory ---- */

void *malloc(size_t size)
{
	return HIT(MEMORY) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return HIT(MEMORY) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	return HIT(MEMORY) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return HIT(MEMORY) ? NULL : __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return HIT(MEMORY) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
	void *p = HIT(MEMORY) ? NULL : __libc_memalign(alignment, size);

	if (p)
		*out = p;
	return p ? 0 : ENOMEM;
}

static char *copy(const char *text, size_t len)
{
	char *out = __libc_malloc(len + 1);

	if (out) {
		memcpy(out, text, len);
		out[len] = 0;
	}
	return out;
}

char *strdup(const char *text)
{
	return HIT(MEMORY) ? NULL : copy(text, strlen(text));
}

char *strndup(const char *text, size_t most)
{
	return HIT(MEMORY) ? NULL : copy(text, strnlen(text, most));
}

int vasprintf(char **out, const char *format, va_list ap)
{
	NEXT(vasprintf);
	return HIT(MEMORY) ? -1 : next(out, format, ap);
}

int asprintf(char **out, const char *format, ...)
{
	va_list ap;
	int r;
	NEXT(vasprintf);

	if (HIT(MEMORY))
		return -1;
	va_start(ap, format);
	r = next(out, format, ap);
	va_end(ap);
	return r;
}

FILE *fopen64(const char *path, const char *mode)
{
	NEXT(fopen64);
	return HIT(MEMORY) ? NULL : next(path, mode);
}

FILE *fopen(const char *path, const char *mode)
{
	NEXT(fopen);
	return HIT(MEMORY) ? NULL : next(path, mode);
}

FILE *fdopen(int fd, const char *mode)
{
	NEXT(fdopen);
	return HIT(MEMORY) ? NULL : next(fd, mode);
}

FILE *open_memstream(char **out, size_t *len)
{
	NEXT(open_memstream);
	return HIT(MEMORY) ? NULL : next(out, len);
}

DIR *opendir(const char *path)
{
	NEXT(opendir);
	return HIT(MEMORY) ? NULL : next(path);
}

DIR *fdopendir(int fd)
{
	NEXT(fdopendir);
	return HIT(MEMORY) ? NULL : next(fd);
}

char *realpath(const char *path, char *out)
{
	NEXT(realpath);
	return HIT(MEMORY) ? NULL : next(path, out);
}

ssize_t getline(char **line, size_t *room, FILE *f)
{
	NEXT(getline);
	return HIT(MEMORY) ? -1 : next(line, room, f);
}

void *mmap64(void *where, size_t len, int protection, int flags, int fd, off64_t offset)
{
	NEXT(mmap64);
	return HIT(MEMORY) ? MAP_FAILED : next(where, len, protection, flags, fd, offset);
}

/* ---- files ---- */

/* Pipes and terminals do not get full. */
static bool is_file(int fd)
{
	struct stat st;
	int before = errno;
	bool is = !fstat(fd, &st) && S_ISREG(st.st_mode);

	errno = before;
	return is && fd > 2;
}

/* Bytes to write; -1: it fails. */
static ssize_t allowed(int fd, size_t len, void *from)
{
	if (!is_file(fd))
		return (ssize_t)len;
	if (hit(WRITE, from))
		return -1;
	return len > 1 && hit(SHORT, from) ? (ssize_t)len / 2 : (ssize_t)len;
}

ssize_t write(int fd, const void *data, size_t len)
{
	ssize_t n = allowed(fd, len, __builtin_return_address(0));
	NEXT(write);

	return n < 0 ? n : next(fd, data, (size_t)n);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
	ssize_t n = allowed(fd, len, __builtin_return_address(0));
	NEXT(pwrite64);

	return n < 0 ? n : next(fd, data, (size_t)n, offset);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags)
{
	ssize_t n = allowed(out, len, __builtin_return_address(0));
	NEXT(copy_file_range);

	return n < 0 ? n : next(in, in_at, out, out_at, (size_t)n, flags);
}

int ftruncate64(int fd, off64_t len)
{
	NEXT(ftruncate64);
	return HIT(WRITE) ? -1 : next(fd, len);
}

ssize_t read(int fd, void *data, size_t len)
{
	NEXT(read);
	return is_file(fd) && HIT(READ) ? -1 : next(fd, data, len);
}

ssize_t pread64(int fd, void *data, size_t len, off64_t offset)
{
	NEXT(pread64);
	return is_file(fd) && HIT(READ) ? -1 : next(fd, data, len, offset);
}

int fsync(int fd)
{
	NEXT(fsync);
	return HIT(SYNC) ? -1 : next(fd);
}

int fdatasync(int fd)
{
	NEXT(fdatasync);
	return HIT(SYNC) ? -1 : next(fd);
}

int syncfs(int fd)
{
	NEXT(syncfs);
	return HIT(SYNC) ? -1 : next(fd);
}

int rename(const char *from, const char *to)
{
	NEXT(rename);
	return HIT(RENAME) ? -1 : next(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	NEXT(renameat);
	return HIT(RENAME) ? -1 : next(from_fd, from, to_fd, to);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	NEXT(renameat2);
	return HIT(RENAME) ? -1 : next(from_fd, from, to_fd, to, flags);
}

int link(const char *from, const char *to)
{
	NEXT(link);
	return HIT(LINK) ? -1 : next(from, to);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	NEXT(linkat);
	return HIT(LINK) ? -1 : next(from_fd, from, to_fd, to, flags);
}

int mkdir(const char *path, mode_t mode)
{
	NEXT(mkdir);
	return HIT(FOLDER) ? -1 : next(path, mode);
}

int mkdirat(int fd, const char *path, mode_t mode)
{
	NEXT(mkdirat);
	return HIT(FOLDER) ? -1 : next(fd, path, mode);
}

static mode_t mode_of(int flags, va_list ap)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

int openat64(int fd, const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;
	NEXT(openat64);

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return flags & (O_WRONLY | O_RDWR | O_CREAT) && HIT(OPEN) ? -1 : next(fd, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;
	NEXT(open64);

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	return flags & (O_WRONLY | O_RDWR | O_CREAT) && HIT(OPEN) ? -1 : next(path, flags, mode);
}

/* ---- threads ---- */

int pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
{
	NEXT(pthread_create);
	return HIT(THREAD) ? EAGAIN : next(out, attributes, run, context);
}
