/* Pins: see pin.h. One line, and the manifest behind it:
 *
 *	manifest KEY|unsigned
 *	file raw|cloop SIZE SECONDS NANOSECONDS
 *	http raw|cloop SIZE [ETAG]
 */
#include "disk/pin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define LINE_MAX_LEN 512 /* bytes: an ETag and some numbers */

int pin_write(const struct pin *p, struct buf *out)
{
	const char *form = p->cloop ? "cloop" : "raw";
	char key[PUBLIC_KEY_TEXT_MAX] = "unsigned";
	int r;

	if (p->verified)
		public_key_encode(&p->signer, key);
	switch (p->kind) {
	case PIN_MANIFEST:
		r = buf_printf(out, "manifest %s\n", key);
		return r < 0 ? r : buf_append(out, p->text, p->len);
	case PIN_FILE:
		return buf_printf(out, "file %s %" PRIu64 " %" PRId64 " %" PRId64 "\n", form, p->file.size, p->file.seconds,
			p->file.nanoseconds);
	case PIN_HTTP:
		return buf_printf(out, "http %s %" PRIu64 " %s\n", form, p->http.size, p->http.etag);
	default:
		return 0;
	}
}

/* Text after `SIZE ` to the line's end; none is an empty one. */
static void read_etag(struct pin *p, const char *line)
{
	for (int spaces = 0; *line && spaces < 3; line++)
		spaces += *line == ' ';
	snprintf(p->http.etag, sizeof(p->http.etag), "%s", line);
}

static bool read_line(struct pin *p, const char *line)
{
	char form[8] = "";

	if (text_starts(line, "manifest ")) {
		const char *key = line + strlen("manifest ");

		p->kind = PIN_MANIFEST;
		p->verified = strcmp(key, "unsigned") != 0;
		return !p->verified || !public_key_decode(&p->signer, key, strlen(key), NULL);
	}
	if (sscanf(line, "file %7s %" SCNu64 " %" SCNd64 " %" SCNd64, form, &p->file.size, &p->file.seconds, &p->file.nanoseconds) == 4) {
		p->kind = PIN_FILE;
	} else if (sscanf(line, "http %7s %" SCNu64, form, &p->http.size) == 2) {
		p->kind = PIN_HTTP;
		read_etag(p, line);
	}
	p->cloop = !strcmp(form, "cloop");
	return p->kind != PIN_NONE && (p->cloop || !strcmp(form, "raw"));
}

int pin_read(struct pin *p, const void *data, size_t len, struct err *e)
{
	const char *text = data, *end = memchr(data, '\n', len < LINE_MAX_LEN ? len : LINE_MAX_LEN);
	_cleanup_free_ char *line = end ? strndup(text, (size_t)(end - text)) : NULL;

	*p = (struct pin){0};
	if (!line || !read_line(p, line))
		return err_set(e, -EBADMSG, "what the process before left about the image cannot be understood");
	p->text = end + 1;
	p->len = len - (size_t)(end + 1 - text);
	return 0;
}
