/* The format library at the command line, so that the scripts beside this can set it against other
 *people's tools:
 *
 *	format_tool key SECRET PUBLIC		makes a key pair
 *	format_tool sign SECRET MESSAGE OUT	writes the signed form of a message
 *	format_tool verify PUBLIC SIGNED OUT	writes the message, if the signature is right
 *	format_tool encode LEVEL FILE OUT	compresses a file as one block, prints its path
 *inside a store format_tool decode FRAME OUT HASH	decompresses a block of that hash
 *	format_tool cloop FILE OUT		writes all blocks of a cloop file */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "format/block.h"
#include "format/cloop.h"
#include "format/signature.h"

#define FILE_MAX (64u << 20) /* bytes of a file in these tests */

static int do_key(char **arg, struct err *e)
{
	_cleanup_buf_ struct buf out = BUF_INIT(4096);
	struct secret_key secret;
	struct public_key public;
	int r;

	r = key_generate(&secret, &public, e);
	if (r >= 0)
		r = secret_key_file(&secret, "interop secret key", &out);
	if (r >= 0)
		r = file_save(AT_FDCWD, arg[0], out.data, out.len, FILE_PRIVATE, e);
	out.len = 0;
	if (r >= 0)
		r = public_key_file(&public, "interop public key", &out);
	if (r >= 0)
		r = file_save(AT_FDCWD, arg[1], out.data, out.len, 0, e);
	return r;
}

static int do_sign(char **arg, struct err *e)
{
	_cleanup_buf_ struct buf key = BUF_INIT(4096), message = BUF_INIT(FILE_MAX),
				 out = BUF_INIT(FILE_MAX + 4096);
	struct secret_key secret;
	int r;

	r = file_load(AT_FDCWD, arg[0], &key, e);
	if (r >= 0)
		r = secret_key_file_parse(&secret, (char *)key.data, key.len, e);
	if (r >= 0)
		r = file_load(AT_FDCWD, arg[1], &message, e);
	if (r >= 0)
		r = signature_sign(
			&secret, "signed by format_tool", message.data, message.len, &out, e);
	if (r >= 0)
		r = file_save(AT_FDCWD, arg[2], out.data, out.len, 0, e);
	return r;
}

static int do_verify(char **arg, struct err *e)
{
	_cleanup_buf_ struct buf key = BUF_INIT(4096), data = BUF_INIT(FILE_MAX + 4096);
	struct public_key public;
	const char *message;
	size_t len;
	int r;

	r = file_load(AT_FDCWD, arg[0], &key, e);
	if (r >= 0)
		r = public_key_file_parse(&public, (char *)key.data, key.len, e);
	if (r >= 0)
		r = file_load(AT_FDCWD, arg[1], &data, e);
	if (r >= 0)
		r = signature_open(&public, (char *)data.data, data.len, &message, &len, e);
	if (r >= 0)
		r = file_save(AT_FDCWD, arg[2], message, len, 0, e);
	return r;
}

static int do_encode(char **arg, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(BLOCK_LEN_MAX), out = BUF_INIT(BLOCK_FILE_MAX);
	char path[BLOCK_PATH_MAX];
	struct hash h;
	int r;

	r = file_load(AT_FDCWD, arg[1], &data, e);
	if (r >= 0)
		r = block_encode(&out, data.data, data.len, atoi(arg[0]), e);
	if (r >= 0)
		r = file_save(AT_FDCWD, arg[2], out.data, out.len, 0, e);
	if (r < 0)
		return r;
	hash_of(&h, data.data, data.len);
	block_path(&h, path);
	puts(path);
	return 0;
}

static int do_decode(char **arg, struct err *e)
{
	_cleanup_buf_ struct buf data = BUF_INIT(BLOCK_FILE_MAX);
	_cleanup_free_ void *out = NULL;
	struct hash h;
	int64_t len;
	int r;

	if (hex_decode(h.bytes, HASH_LEN, arg[2], strlen(arg[2])) < 0)
		return err_set(e, -EINVAL, "not a hash: %s", arg[2]);
	r = file_load(AT_FDCWD, arg[0], &data, e);
	if (r < 0)
		return r;
	len = block_claimed_len(data.data, data.len, e);
	if (len < 0)
		return (int)len;
	out = malloc((size_t)len);
	if (!out)
		return err_set(e, -ENOMEM, "no memory");
	r = block_decode(out, (size_t)len, &h, data.data, data.len, e);
	return r < 0 ? r : file_save(AT_FDCWD, arg[1], out, (size_t)len, 0, e);
}

static int write_cloop(
	const struct cloop_head *h, const uint8_t *file, size_t size, int to, struct err *e)
{
	_cleanup_free_ void *block = malloc(h->block_size);

	for (uint32_t i = 0; block && i < h->blocks; i++) {
		uint64_t offset;
		uint32_t len;
		int r;

		r = cloop_block_range(
			h, file + CLOOP_HEAD_LEN + (size_t)i * 8, size, &offset, &len, e);
		if (r >= 0)
			r = cloop_block_decode(block, h->block_size, file + offset, len, e);
		if (r >= 0)
			r = file_write(to, block, h->block_size);
		if (r < 0)
			return r;
	}
	return block ? 0 : err_set(e, -ENOMEM, "no memory");
}

static int do_cloop(char **arg, struct err *e)
{
	_cleanup_buf_ struct buf file = BUF_INIT(FILE_MAX);
	_cleanup_close_ int to = -1;
	struct cloop_head h;
	int r;

	r = file_load(AT_FDCWD, arg[0], &file, e);
	if (r >= 0)
		r = cloop_head_parse(&h, file.data, file.len, file.len, e);
	if (r < 0)
		return r;
	to = open(arg[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (to < 0)
		return err_errno(e, "cannot create %s", arg[1]);
	return write_cloop(&h, file.data, file.len, to, e);
}

static const struct {
	const char *name;
	int arguments;
	int (*run)(char **arg, struct err *e);
} commands[] = {
	{"key", 2, do_key},
	{"sign", 3, do_sign},
	{"verify", 3, do_verify},
	{"encode", 3, do_encode},
	{"decode", 3, do_decode},
	{"cloop", 2, do_cloop},
};

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;

	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		int r;

		if (strcmp(argv[1], commands[i].name) != 0 || argc != commands[i].arguments + 2)
			continue;
		r = commands[i].run(argv + 2, &e);
		if (r < 0)
			fprintf(stderr, "format_tool: %s\n", e.text[0] ? e.text : strerror(-r));
		return r < 0 ? 1 : 0;
	}
	fprintf(stderr, "usage: format_tool key|sign|verify|encode|decode|cloop ARGUMENTS (see its "
			"source)\n");
	return 2;
}
