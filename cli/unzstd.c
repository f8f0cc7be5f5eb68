/* inetboot unzstd: for the boot medium's scripts, as busybox has none. Kernel modules of images come in this form. */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/cli.h"

static const char help[] =
	"Usage: inetboot unzstd <FILE.zst >FILE\n\n"
	"Decompresses zstd frames from standard input to standard output.\n\n"
	"  --help               this text\n";

/* The decoder's window, and so its memory, is bounded by zstd's own default (128 MiB). */
static int decompress(ZSTD_DStream *d, struct err *e)
{
	char in[65536], out[65536];
	size_t left = 0; /* 0: at the end of a frame */
	bool any = false;
	ssize_t n;

	while ((n = file_read(STDIN_FILENO, in, sizeof(in))) > 0) {
		ZSTD_inBuffer from = {in, (size_t)n, 0};
		ZSTD_outBuffer to;

		any = true;
		do {
			to = (ZSTD_outBuffer){out, sizeof(out), 0};
			left = ZSTD_decompressStream(d, &to, &from);
			if (ZSTD_isError(left))
				return err_set(e, -EBADMSG, "this is no zstd stream, or a damaged one: %s", ZSTD_getErrorName(left));
			if (file_write(STDOUT_FILENO, out, to.pos) < 0)
				return err_errno(e, "cannot write what was decompressed");
		} while (from.pos < from.size || (left && to.pos == to.size));
	}
	if (n < 0)
		return err_set(e, (int)n, "cannot read what to decompress: %s", strerror((int)-n));
	return any && !left ? 0 : err_set(e, -EBADMSG, "the zstd stream ends too early");
}

int cmd_unzstd(int argc, char **argv)
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
	struct err e = ERR_INIT;
	ZSTD_DStream *d;
	int r = cli_flags(argc, argv, options, help);

	if (r >= 0)
		return r;
	if (argc != optind)
		return cli_usage("unzstd", "it takes no files: they are its standard input and output");
	d = ZSTD_createDStream();
	r = d ? decompress(d, &e) : err_set(&e, -ENOMEM, "no memory for a decoder");
	ZSTD_freeDStream(d);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}
