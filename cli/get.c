/* inetboot get: a signed file from a web server, checked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/image_options.h"
#include "disk/confine.h"
#include "fetch/origin.h"
#include "format/signature.h"

static const char help[] =
	"Usage: inetboot get [OPTIONS] --keys FILE URL\n\n"
	"Fetches a file that was signed by `inetboot key --sign` or `signify -S -e`, checks it, and prints what was signed.\n\n"
	"  --keys FILE          public keys, one of which must have signed it: their 56 characters, each in a line of its own\n"
	"  --help               this text\n\n" IMAGE_OPTIONS_HELP
	"\nExample: inetboot get --keys keys http://127.0.0.1:8080/start.sh\n";

#define KEYS_MAX (64u << 10) /* bytes of the file with keys */

enum { OPT_KEYS = OPT_COMMAND };

/* The keys are tried as the signature names them, so that a wrong one is told apart from a wrong signature. */
static int check(const struct buf *keys, const struct buf *body, const char **message, size_t *len, struct err *e)
{
	const char *text = (const char *)keys->data, *end = text + keys->len;
	uint8_t number[KEY_NUMBER_LEN];
	int r = signature_key_number((const char *)body->data, body->len, number, e);

	for (; r >= 0 && text < end; text++) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((stop ? stop : end) - text);
		struct public_key key;

		if (n && !public_key_decode(&key, text, n, NULL) && !memcmp(key.number, number, sizeof(number)))
			return signature_open(&key, (const char *)body->data, body->len, message, len, e);
		text += n;
	}
	return r < 0 ? r : err_set(e, -EKEYREJECTED, "signed by a key that is none of those that are trusted here");
}

static int get(const char *url, const struct origin_options *o, const struct buf *keys, struct err *e)
{
	struct origin_request rq = {.path = "", .max = SIGNED_FILE_MAX, .fresh = true, .timeout_ms = ORIGIN_FIRST_MS};
	struct origin_answer answer = {0};
	struct origin *origin = NULL;
	const char *message;
	size_t len;
	int r = origin_open(&origin, &url, 1, o, e);

	if (!r)
		r = origin_get(origin, &rq, &answer, e);
	if (!r)
		r = check(keys, &answer.body, &message, &len, e);
	if (!r)
		fwrite(message, 1, len, stdout);
	buf_free(&answer.body);
	if (origin)
		origin_close(origin);
	return r;
}

static int take_keys(void *context, int code, char *value)
{
	*(const char **)context = value;
	return 0;
}

int cmd_get(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'}, {"keys", required_argument, NULL, OPT_KEYS}, IMAGE_LONG_OPTIONS, {0}};
	_cleanup_buf_ struct buf keys = BUF_INIT(KEYS_MAX);
	struct image_option_values v;
	const char *file = NULL;
	struct err e = ERR_INIT;
	int r;

	r = image_options_take(&v, argc, argv, "h", options, help, take_keys, &file);
	if (r >= 0)
		return r;
	if (argc - optind != 1 || !file || !cli_is_url(argv[optind]))
		return cli_usage("get", "a URL is needed, and --keys");
	r = file_load(AT_FDCWD, file, &keys, &e);
	if (!r)
		r = image_confine(argv[optind], &v.o, &e);
	if (!r)
		r = get(argv[optind], &v.o.origin, &keys, &e);
	if (r < 0)
		err_add(&e, "cannot get %s", argv[optind]);
	return r < 0 ? cli_fail(&e) : EXIT_OK;
}
