/* inetboot key: makes a key pair in signify's file format. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/cli.h"
#include "format/signature.h"

static const char help[] = "Usage: inetboot key FILE\n\n"
			   "Makes a key pair for publishing: the secret key in FILE, readable by "
			   "you alone, and the public key in FILE.pub.\n"
			   "Both are files as signify(1) makes them. Existing files are never "
			   "overwritten. Prints the public key, which is what\n"
			   "stands behind `#` in links. Keep FILE safe: whoever has it can publish "
			   "what your readers will boot.\n\n"
			   "  -h, --help  show this\n\n"
			   "Example:\n  inetboot key ~/.inetboot.key\n";

static int save_pair(const char *file, const char *pub, const struct secret_key *secret,
	const struct public_key *public, struct err *e)
{
	_cleanup_buf_ struct buf a = BUF_INIT(4096), b = BUF_INIT(4096);
	int r;

	if (secret_key_file(secret, "inetboot secret key", &a) < 0 ||
		public_key_file(public, "inetboot public key", &b) < 0)
		return err_set(e, -ENOMEM, "no memory for the key files");
	if (!access(pub, F_OK))
		return err_set(e, -EEXIST, "%s is there already", pub);
	r = file_save(AT_FDCWD, file, a.data, a.len, FILE_PRIVATE | FILE_EXCLUSIVE | FILE_SYNC, e);
	explicit_bzero(a.data, a.len);
	if (r == -EEXIST)
		return err_set(e, r, "%s is there already", file);
	if (r < 0)
		return r;
	r = file_save(AT_FDCWD, pub, b.data, b.len, FILE_EXCLUSIVE | FILE_SYNC, e);
	if (r < 0)
		unlink(file);
	return r;
}

static int make_pair(const char *file, char text[PUBLIC_KEY_TEXT_MAX], struct err *e)
{
	_cleanup_free_ char *pub = file_path("%s.pub", file);
	struct secret_key secret;
	struct public_key public;
	int r = pub ? key_generate(&secret, &public, e) : err_set(e, -ENOMEM, "no memory");

	if (!r)
		r = save_pair(file, pub, &secret, &public, e);
	explicit_bzero(&secret, sizeof(secret));
	if (!r)
		public_key_encode(&public, text);
	return r;
}

int cmd_key(int argc, char **argv)
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
	char text[PUBLIC_KEY_TEXT_MAX];
	struct err e = ERR_INIT;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c != 'h')
			return cli_bad_option("key", argv);
		fputs(help, stdout);
		return EXIT_OK;
	}
	if (argc - optind != 1)
		return cli_usage("key", "one FILE is needed");
	if (make_pair(argv[optind], text, &e) < 0) {
		err_add(&e, "cannot make the key %s", argv[optind]);
		return cli_fail(&e);
	}
	printf("%s\n", text);
	return EXIT_OK;
}
