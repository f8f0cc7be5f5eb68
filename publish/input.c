/* Inputs: see input.h. One struct with a feed function for each of the three ways of reading. */
#include "publish/input.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "format/cloop.h"
#include "publish/convert.h"

#define HEAD_LEN 512
#define PIPE_WAIT_MS 200 /* then the caller looks whether to go on */

struct input {
	int (*feed)(struct input *in, struct scanner *s, struct err *e);
	char *path; /* for messages; owned */
	int fd;
	bool regular; /* a file that should not change */
	struct stat as_opened;
	uint64_t size;     /* bytes of the disk, 0: not known */
	uint64_t at;       /* bytes fed */
	uint8_t head[HEAD_LEN]; /* of a pipe */
	size_t head_len;
	uint64_t data_end; /* file: the data that `at` lies in ends here */

	struct cloop_head cloop;
	uint64_t file_size;
	uint32_t block;      /* the next one */
	uint8_t *compressed; /* owned, with room for the longest one */
	size_t compressed_room;
	uint8_t *plain;    /* owned, one block */
	uint32_t plain_at; /* bytes of it that were fed */
};

static int check_unchanged(struct input *in, struct err *e)
{
	struct stat now;

	if (!in->regular)
		return 0;
	if (fstat(in->fd, &now) < 0)
		return err_errno(e, "cannot look at %s", in->path);
	if (now.st_size != in->as_opened.st_size ||
		now.st_mtim.tv_sec != in->as_opened.st_mtim.tv_sec ||
		now.st_mtim.tv_nsec != in->as_opened.st_mtim.tv_nsec)
		return err_set(e, -EBUSY, "%s changed while it was read: is it in use?", in->path);
	return 0;
}

/* Finds the data at or behind `at`; what is skipped is a hole. File systems without SEEK_DATA, and
 * devices, have data everywhere. */
static int find_data(struct input *in, struct scanner *s, struct err *e)
{
	off_t data = lseek(in->fd, (off_t)in->at, SEEK_DATA), end;
	uint64_t start = in->at;

	in->data_end = in->size;
	if (data < 0 && errno != ENXIO)
		return 0;
	in->at = data < 0 || (uint64_t)data > in->size ? in->size : (uint64_t)data;
	end = in->at < in->size ? lseek(in->fd, (off_t)in->at, SEEK_HOLE) : -1;
	if (end > 0 && (uint64_t)end < in->size)
		in->data_end = (uint64_t)end;
	return in->at > start ? scanner_zeros(s, in->at - start, e) : 0;
}

static int feed_file(struct input *in, struct scanner *s, struct err *e)
{
	uint8_t *to;
	size_t room;
	int r = 0;

	if (in->at >= in->data_end && in->at < in->size)
		r = find_data(in, s, e);
	if (!r && in->at == in->size) {
		r = check_unchanged(in, e);
		return r;
	}
	if (!r)
		r = scanner_room(s, &to, &room, e);
	if (r < 0)
		return r;
	if (room > in->data_end - in->at)
		room = (size_t)(in->data_end - in->at);
	r = file_pread(in->fd, to, room, in->at);
	if (r < 0)
		return check_unchanged(in, e) < 0
			       ? -EBUSY
			       : err_set(e, r, "cannot read %s: %s", in->path, strerror(-r));
	in->at += room;
	r = scanner_fed(s, room, e);
	return r < 0 ? r : 1;
}

static const char *what_is_it(const uint8_t *head, size_t len)
{
	const char *format = convert_probe(head, len);

	return cloop_probe(head, len) ? "cloop" : format;
}

/* Looks at the beginning of a pipe, which may come in small pieces. */
static int refuse_format(struct input *in, const uint8_t *piece, size_t len, struct err *e)
{
	const char *format;

	if (len > HEAD_LEN - in->head_len)
		len = HEAD_LEN - in->head_len;
	if (!len)
		return 0;
	memcpy(in->head + in->head_len, piece, len);
	in->head_len += len;
	format = what_is_it(in->head, in->head_len);
	return format ? err_set(e, -EINVAL,
				"%s is a %s image: name the file, it cannot be read from a pipe",
				in->path, format)
		      : 0;
}

static int feed_pipe(struct input *in, struct scanner *s, struct err *e)
{
	struct pollfd ready = {.fd = in->fd, .events = POLLIN};
	uint8_t *to;
	size_t room;
	ssize_t n;
	int r = poll(&ready, 1, PIPE_WAIT_MS);

	if (!r || (r < 0 && errno == EINTR))
		return 1;
	r = scanner_room(s, &to, &room, e);
	if (r < 0)
		return r;
	n = read(in->fd, to, room);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 1;
	if (n < 0)
		return err_errno(e, "cannot read %s", in->path);
	if (!n)
		return in->at ? 0 : err_set(e, -ENODATA, "%s is empty", in->path);
	r = refuse_format(in, to, (size_t)n, e);
	in->at += (size_t)n;
	if (!r)
		r = scanner_fed(s, (size_t)n, e);
	return r < 0 ? r : 1;
}

static int load_cloop_block(struct input *in, struct err *e)
{
	uint8_t entries[16];
	uint64_t offset;
	uint32_t len;
	int r = file_pread(in->fd, entries, sizeof(entries), CLOOP_HEAD_LEN + 8ULL * in->block);

	if (r < 0)
		return err_set(e, r, "cannot read %s: %s", in->path, strerror(-r));
	r = cloop_block_range(&in->cloop, entries, in->file_size, &offset, &len, e);
	if (r < 0)
		return err_add(e, "%s: block %u", in->path, in->block);
	if (len > in->compressed_room) { /* cloop_block_range() bounds it by the block size */
		free(in->compressed);
		in->compressed = malloc(len);
		in->compressed_room = in->compressed ? len : 0;
		if (!in->compressed)
			return err_set(e, -ENOMEM, "no memory for a cloop block");
	}
	r = file_pread(in->fd, in->compressed, len, offset);
	if (r < 0)
		return err_set(e, r, "cannot read %s: %s", in->path, strerror(-r));
	r = cloop_block_decode(in->plain, in->cloop.block_size, in->compressed, len, e);
	return r < 0 ? err_add(e, "%s: block %u", in->path, in->block) : 0;
}

static int feed_cloop(struct input *in, struct scanner *s, struct err *e)
{
	uint8_t *to;
	size_t room;
	int r = 0;

	if (in->plain_at == in->cloop.block_size) {
		if (in->block == in->cloop.blocks)
			return check_unchanged(in, e);
		r = load_cloop_block(in, e);
		in->block++;
		in->plain_at = 0;
	}
	if (!r)
		r = scanner_room(s, &to, &room, e);
	if (r < 0)
		return r;
	if (room > in->cloop.block_size - in->plain_at)
		room = in->cloop.block_size - in->plain_at;
	memcpy(to, in->plain + in->plain_at, room);
	in->plain_at += (uint32_t)room;
	in->at += room;
	r = scanner_fed(s, room, e);
	return r < 0 ? r : 1;
}

static int open_cloop(struct input *in, const uint8_t *head, size_t len, struct err *e)
{
	int r;

	in->file_size = (uint64_t)in->as_opened.st_size;
	r = cloop_head_parse(&in->cloop, head, len, in->file_size, e);
	if (r < 0)
		return err_add(e, "%s", in->path);
	in->plain = malloc(in->cloop.block_size);
	if (!in->plain)
		return err_set(e, -ENOMEM, "no memory for a cloop block");
	in->plain_at = in->cloop.block_size;
	in->size = (uint64_t)in->cloop.block_size * in->cloop.blocks;
	in->feed = feed_cloop;
	return 0;
}

/* Takes over fd. */
static int adopt(struct input **out, const char *path, int fd, struct err *e)
{
	struct input *in = calloc(1, sizeof(*in));
	off_t size;

	if (in)
		in->path = strdup(path);
	if (!in || !in->path) {
		free(in);
		close(fd);
		return err_set(e, -ENOMEM, "no memory for an input");
	}
	in->fd = fd;
	*out = in;
	if (fstat(fd, &in->as_opened) < 0)
		return err_errno(e, "cannot look at %s", path);
	in->regular = S_ISREG(in->as_opened.st_mode);
	if (!in->regular && !S_ISBLK(in->as_opened.st_mode)) {
		in->feed = feed_pipe;
		return 0;
	}
	in->feed = feed_file;
	size = lseek(fd, 0, SEEK_END);
	if (size < 0)
		return err_errno(e, "cannot find the size of %s", path);
	if (!size)
		return err_set(e, -ENODATA, "%s is empty", path);
	in->size = (uint64_t)size;
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

static bool is_tar(const uint8_t *head, size_t len, const char *path)
{
	static const char *const ends[] = {".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst",
		".tzst", ".tar.bz2", ".tbz2"};

	if (len >= 262 && !memcmp(head + 257, "ustar", 5))
		return true;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		if (text_ends(path, ends[i]))
			return true;
	return false;
}

static const char *compressed_by(const uint8_t *head, size_t len)
{
	if (len >= 6 && !memcmp(head,
				"\xfd"
				"7zXZ",
				6))
		return "xz";
	if (len >= 4 && !memcmp(head, "\x28\xb5\x2f\xfd", 4))
		return "zstd";
	if (len >= 3 && !memcmp(head, "BZh", 3))
		return "bzip2";
	return len >= 3 && !memcmp(head, "\x1f\x8b\x08", 3) ? "gzip" : NULL;
}

static int replace_by(struct input **in, const char *path, int fd, struct err *e)
{
	input_close(*in);
	*in = NULL;
	return fd < 0 ? fd : adopt(in, path, fd, e);
}

/* Looks at what an opened file is, and changes the input to suit. */
static int recognise(
	struct input **in, const char *path, const struct input_options *o, struct err *e)
{
	uint8_t head[HEAD_LEN] = {0};
	size_t len = (*in)->size < sizeof(head) ? (size_t)(*in)->size : sizeof(head);
	const char *format;
	int r;

	if ((*in)->feed != feed_file)
		return 0;
	r = file_pread((*in)->fd, head, len, 0);
	if (r < 0)
		return err_set(e, r, "cannot read %s: %s", path, strerror(-r));
	if (cloop_probe(head, len))
		return open_cloop(*in, head, len, e);
	format = convert_probe(head, len);
	if (format)
		return replace_by(in, path, convert_image(path, format, e), e);
	if (is_tar(head, len, path))
		return replace_by(in, path, convert_tree(path, true, o->filesystem, o->name, e), e);
	format = compressed_by(head, len);
	if (format)
		return err_set(e, -EINVAL,
			"%s is compressed and not named as a tar file: for an image inside, run "
			"`%s -dc %s | inetboot publish - ...`",
			path, format, path);
	return 0;
}

int input_open(struct input **out, const char *path, const struct input_options *o, struct err *e)
{
	_cleanup_close_ int fd = -1;
	struct input *in = NULL;
	struct stat st;
	int r;

	*out = NULL;
	fd = !strcmp(path, "-") ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
				: open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_errno(e, "cannot open %s", path);
	if (S_ISDIR(st.st_mode)) {
		r = replace_by(&in, path, convert_tree(path, false, o->filesystem, o->name, e), e);
	} else {
		r = adopt(&in, strcmp(path, "-") ? path : "standard input", steal_fd(&fd), e);
		if (!r)
			r = recognise(&in, path, o, e);
	}
	if (r < 0)
		input_close(in);
	else
		*out = in;
	return r;
}

int input_open_raw(struct input **out, const char *path, struct err *e)
{
	struct input *in = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	*out = NULL;
	if (fd < 0)
		return err_errno(e, "cannot open %s", path);
	r = adopt(&in, path, fd, e);
	if (r < 0)
		input_close(in);
	else
		*out = in;
	return r;
}

uint64_t input_size(const struct input *in)
{
	return in->size;
}

int input_feed(struct input *in, struct scanner *s, struct err *e)
{
	return in->feed(in, s, e);
}

void input_close(struct input *in)
{
	if (!in)
		return;
	if (in->fd >= 0)
		close(in->fd);
	free(in->compressed);
	free(in->plain);
	free(in->path);
	free(in);
}
