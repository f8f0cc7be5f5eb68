/* inetboot key: makes a key pair in signify's file format; signs a file; gives the images of a store another key, or revokes them
 * (publish/key_change.h). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "format/signature.h"
#include "publish/key_change.h"
#include "publish/signer.h"

static const char help[] =
	"Usage: inetboot key FILE\n"
	"       inetboot key --sign FILE --key FILE\n"
	"       inetboot key --rotate STORE NAME... | --all  --key FILE --new-key FILE [--base-url URL]\n"
	"       inetboot key --revoke STORE NAME... | --all  --key FILE [--reason TEXT]\n\n"
	"Makes a key pair for publishing: the secret key in FILE, readable by you alone, and the public key in FILE.pub.\n"
	"Both are files as signify(1) makes them. Existing files are never overwritten. Prints the public key, which is what\n"
	"stands behind `#` in links. Keep FILE safe: whoever has it can publish what your readers will boot.\n\n"
	"With --sign, writes FILE.sig: FILE with a signature in it, for scripts of boot media (iscript=, see inetboot-preboot(7)).\n"
	"With --rotate, images that are published with one key go over to another. Links handed out go on working: the old key names the\n"
	"new one to readers, who from then on refuse what the old one signs. Publish with the new key afterwards.\n"
	"With --revoke, readers refuse the images from then on, all versions, for ever. There is no way back but another name or key.\n"
	"Both can be interrupted and done again.\n\n"
	"      --sign           sign a file\n"
	"      --rotate         go over from --key to --new-key; prints the new links\n"
	"      --revoke         make readers refuse the images\n"
	"      --all            all images in STORE that the key signs\n"
	"  -k, --key FILE       secret key that signs them now\n"
	"      --new-key FILE   secret key that shall sign them (make it with `inetboot key FILE`)\n"
	"      --base-url URL   where the store is on the web, to print links with\n"
	"      --reason TEXT    why, for readers: at most 255 bytes\n"
	"  -h, --help           show this\n\n"
	"Examples:\n  inetboot key ~/.inetboot.key\n"
	"  inetboot key --sign start.sh --key ~/.inetboot.key\n"
	"  inetboot key --rotate /srv/www/store debian --key ~/.inetboot.key --new-key ~/.inetboot2.key\n"
	"  inetboot key --revoke /srv/www/store --all --key ~/.inetboot.key --reason 'the key was stolen'\n";

enum { OPT_SIGN = 0x100, OPT_ROTATE, OPT_REVOKE, OPT_ALL, OPT_NEW_KEY, OPT_BASE_URL, OPT_REASON };

static const struct option options[] = {
	{"sign", no_argument, NULL, OPT_SIGN},
	{"rotate", no_argument, NULL, OPT_ROTATE},
	{"revoke", no_argument, NULL, OPT_REVOKE},
	{"all", no_argument, NULL, OPT_ALL},
	{"key", required_argument, NULL, 'k'},
	{"new-key", required_argument, NULL, OPT_NEW_KEY},
	{"base-url", required_argument, NULL, OPT_BASE_URL},
	{"reason", required_argument, NULL, OPT_REASON},
	{"help", no_argument, NULL, 'h'},
	{0},
};

struct request {
	struct key_change change;
	bool sign, rotate, revoke, all;
};

/* ---- a new pair ---- */

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

static int new_pair(const char *file)
{
	char text[PUBLIC_KEY_TEXT_MAX];
	struct err e = ERR_INIT;

	if (make_pair(file, text, &e) < 0) {
		err_add(&e, "cannot make the key %s", file);
		return cli_fail(&e);
	}
	printf("%s\n", text);
	return EXIT_OK;
}

/* ---- a signed file ---- */

static int sign(const char *file, const char *key, const char *out, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(SIGNED_FILE_MAX - 4096), with = BUF_INIT(SIGNED_FILE_MAX);
	struct signer s = {0};
	int r = file_load(AT_FDCWD, file, &text, e);

	if (!r)
		r = signer_load(&s, key, e);
	if (!r)
		r = signature_sign(&s.secret, "signed by inetboot", text.data, text.len, &with, e);
	signer_wipe(&s);
	return r < 0 ? r : file_save(AT_FDCWD, out, with.data, with.len, 0, e);
}

static int sign_file(const char *file, const char *key)
{
	_cleanup_free_ char *out = file_path("%s.sig", file);
	struct err e = ERR_INIT;

	if (!out || sign(file, key, out, &e) < 0) {
		err_add(&e, "cannot sign %s", file);
		return cli_fail(&e);
	}
	printf("%s\n", out);
	return EXIT_OK;
}

/* ---- another key, or none ---- */

static void print_done(void *context, const char *name, uint64_t version, const char *link, bool before)
{
	if (link)
		printf("%s version %" PRIu64 " is signed by the new key%s: %s\n", name, version, before ? " already" : "", link);
	else
		printf("%s is revoked%s\n", name, before ? " already" : "");
	fflush(stdout);
}

static int change_keys(const struct request *rq)
{
	struct err e = ERR_INIT;

	if (key_change(&rq->change, print_done, NULL, &e) < 0) {
		err_add(&e, "cannot %s in %s", rq->rotate ? "replace the key" : "revoke", rq->change.store);
		return cli_fail(&e);
	}
	return EXIT_OK;
}

static int check_request(const struct request *rq)
{
	const struct key_change *c = &rq->change;

	if (rq->rotate && rq->revoke)
		return cli_usage("key", "either --rotate or --revoke");
	if (!c->store || rq->all == (c->count > 0))
		return cli_usage("key", "a STORE is needed, and then names of images, or --all");
	if (!c->key || (rq->rotate && !c->new_key))
		return cli_usage("key", rq->rotate ? "--key and --new-key are needed" : "--key is needed");
	if (rq->revoke && c->new_key)
		return cli_usage("key", "--revoke takes no --new-key: there is no key after a revocation");
	if (c->reason && (rq->rotate || !*c->reason || strlen(c->reason) > MANIFEST_REASON_MAX))
		return cli_usage("key", "--reason goes with --revoke, and has 1 to %d bytes", MANIFEST_REASON_MAX);
	return 0;
}

static int take_option(struct request *rq, int code, char *value, char **argv)
{
	struct key_change *c = &rq->change;

	switch (code) {
	case OPT_SIGN:
		rq->sign = true;
		return 0;
	case OPT_ROTATE:
		rq->rotate = true;
		return 0;
	case OPT_REVOKE:
		rq->revoke = true;
		return 0;
	case OPT_ALL:
		rq->all = true;
		return 0;
	case 'k':
		c->key = value;
		return 0;
	case OPT_NEW_KEY:
		c->new_key = value;
		return 0;
	case OPT_BASE_URL:
		return cli_base_url("key", value, &c->base_url);
	case OPT_REASON:
		c->reason = value;
		return 0;
	default:
		return cli_bad_option("key", argv);
	}
}

int cmd_key(int argc, char **argv)
{
	struct request rq = {0};
	int c, r;

	while ((c = getopt_long(argc, argv, "hk:", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		r = take_option(&rq, c, optarg, argv);
		if (r)
			return r;
	}
	if (rq.sign) {
		if (argc - optind != 1 || !rq.change.key || rq.rotate || rq.revoke || rq.all || rq.change.new_key || rq.change.reason)
			return cli_usage("key", "--sign takes one FILE, and --key");
		return sign_file(argv[optind], rq.change.key);
	}
	if (!rq.rotate && !rq.revoke) {
		if (argc - optind != 1 || rq.all || rq.change.key || rq.change.new_key || rq.change.reason)
			return cli_usage("key", "one FILE is needed, or --sign, --rotate or --revoke");
		return new_pair(argv[optind]);
	}
	rq.change.store = argv[optind];
	rq.change.names = (const char *const *)argv + optind + 1;
	rq.change.count = argc > optind ? (size_t)(argc - optind - 1) : 0;
	r = check_request(&rq);
	return r ? r : change_keys(&rq);
}
