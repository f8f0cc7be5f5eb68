/* The catalogue: see catalogue.h. The page is one self-contained file: no script, nothing from
 * elsewhere, every value escaped. */
#include "publish/catalogue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "format/link.h"

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Disk "
	"images</title>\n<style>\n"
	":root { color-scheme: light dark; --line: #8884; --soft: #8882; --dim: #777; --accent: "
	"#2b6cb0; }\n"
	"@media (prefers-color-scheme: dark) { :root { --dim: #aaa; --accent: #7db3ef; } }\n"
	"body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: "
	"2rem 1rem 4rem; }\n"
	"h1 { font-size: 1.6rem; margin: 0 0 .25rem; }\n"
	"p.lead { color: var(--dim); margin: 0 0 2rem; }\n"
	"section { border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.25rem; "
	"margin: 0 0 1rem; }\n"
	"h2 { font-size: 1.15rem; margin: 0; display: inline-block; }\n"
	".version { color: var(--dim); margin-left: .5rem; }\n"
	"dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: "
	".6rem 0 .8rem; }\n"
	"dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }\n"
	"pre { background: var(--soft); border-radius: .4rem; padding: .6rem .8rem; margin: 0; "
	"white-space: pre-wrap;\n"
	"      overflow-wrap: anywhere; font-size: .9rem; }\n"
	"a { color: var(--accent); } footer { color: var(--dim); font-size: .9rem; margin-top: "
	"2rem; }\n"
	"</style>\n</head>\n<body>\n<h1>Disk images</h1>\n"
	"<p class=\"lead\">Each boots from here, fetching only what it reads. Copy the address of "
	"a link and give it to "
	"<code>inetboot boot</code>.</p>\n";

static const char foot[] = "<footer>For programs: <a "
			   "href=\"catalog.json\">catalog.json</a></footer>\n</body>\n</html>\n";

static int escaped(struct buf *out, const char *text)
{
	int r = 0;

	for (; !r && *text; text++) {
		switch (*text) {
		case '&':
			r = buf_append(out, "&amp;", 5);
			break;
		case '<':
			r = buf_append(out, "&lt;", 4);
			break;
		case '>':
			r = buf_append(out, "&gt;", 4);
			break;
		case '"':
			r = buf_append(out, "&quot;", 6);
			break;
		case '\'':
			r = buf_append(out, "&#39;", 5);
			break;
		default:
			r = buf_append(out, text, 1);
		}
	}
	return r;
}

static int row(struct buf *out, const char *what, const char *value)
{
	int r = buf_printf(out, "<dt>%s</dt><dd>", what);

	if (!r)
		r = escaped(out, value);
	return r < 0 ? r : buf_printf(out, "</dd>\n");
}

static int size_row(struct buf *out, const char *what, uint64_t bytes)
{
	char text[TEXT_SIZE_MAX];

	text_size(text, bytes);
	return bytes ? row(out, what, text) : 0;
}

static int boot_rows(struct buf *out, const struct manifest *m)
{
	int r = 0;

	for (size_t i = 0; !r && i < m->boot_count; i++) {
		_cleanup_free_ char *text = file_path("%s (%s)", m->boot[i].title, m->boot[i].type);

		r = text ? row(out, i ? "" : "Boots", text) : -ENOMEM;
	}
	return r;
}

static int section(struct buf *out, const struct catalogue_image *image)
{
	const struct manifest *m = image->newest;
	const char *hash = *image->key ? "#" : "";
	int r;

	/* Names and keys hold no character that HTML or a URL would read otherwise. */
	r = buf_printf(out,
		"<section>\n<h2><a href=\"%s%s%s\">%s</a></h2><span class=\"version\">version "
		"%" PRIu64 "</span>\n<dl>\n",
		m->name, hash, image->key, m->name, m->version);
	if (!r)
		r = row(out, "Published", m->created);
	if (!r && m->revoked)
		r = row(out, "Revoked", *m->reason ? m->reason : "nobody shall use it any more");
	if (!r && *m->expires)
		r = row(out, "Expires", m->expires);
	if (!r)
		r = size_row(out, "Disk", m->image.size);
	if (!r)
		r = size_row(out, "Full download", m->stored);
	if (!r && *m->filesystem)
		r = row(out, "File system", m->filesystem);
	if (!r)
		r = boot_rows(out, m);
	if (!r && image->version_count && image->versions[0] != m->version)
		r = buf_printf(out,
			"<dt>Kept</dt><dd>from version %" PRIu64 ": %s@%" PRIu64 "</dd>\n",
			image->versions[0], m->name, image->versions[0]);
	if (!r && m->revoked)
		return buf_printf(out, "</dl>\n</section>\n");
	if (!r)
		r = buf_printf(out, "</dl>\n<pre>inetboot boot %s%s%s%s</pre>\n</section>\n",
			"\xe2\x80\xa6/", m->name, hash, image->key);
	return r;
}

static json_t *boot_list(const struct manifest *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->boot_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "title", m->boot[i].title,
						    "type", m->boot[i].type));
	return list;
}

static json_t *version_list(const struct catalogue_image *image)
{
	json_t *list = json_array();

	for (size_t i = 0; i < image->version_count; i++)
		json_array_append_new(list, json_integer((json_int_t)image->versions[i]));
	return list;
}

static json_t *image_object(const struct catalogue_image *image)
{
	const struct manifest *m = image->newest;
	_cleanup_free_ char *link =
		file_path("%s%s%s", m->name, *image->key ? "#" : "", image->key);
	json_t *object = json_pack("{s:s, s:s*, s:I, s:o, s:s, s:I, s:o}", "name", m->name, "link",
		link, "version", (json_int_t)m->version, "versions", version_list(image), "created",
		m->created, "size", (json_int_t)m->image.size, "boot", boot_list(m));

	if (*image->key)
		json_object_set_new(object, "key", json_string(image->key));
	if (*m->expires)
		json_object_set_new(object, "expires", json_string(m->expires));
	if (m->revoked)
		json_object_set_new(object, "revoked", json_string(m->reason));
	if (m->stored)
		json_object_set_new(object, "stored", json_integer((json_int_t)m->stored));
	if (*m->filesystem)
		json_object_set_new(object, "filesystem", json_string(m->filesystem));
	return object;
}

int catalogue_make(const struct catalogue_image *images, size_t count, struct buf *page, char **json, struct err *e)
{
	json_t *list = json_array(),
	       *top = json_pack("{s:i, s:o}", "format", 1, "images", list);
	int r = buf_append(page, head, strlen(head));

	for (size_t i = 0; !r && i < count; i++) {
		json_array_append_new(list, image_object(&images[i]));
		r = section(page, &images[i]);
	}
	if (!r && !count)
		r = buf_printf(page, "<p>There are none yet.</p>\n");
	if (!r)
		r = buf_append(page, foot, strlen(foot));
	*json = r < 0 ? NULL : json_dumps(top, JSON_INDENT(2));
	json_decref(top);
	return *json ? 0 : err_set(e, r < 0 ? r : -ENOMEM, "no memory for the catalogue");
}

/* The image whose versions start at i, with room for their numbers; returns the first version of the next image. */
static size_t find_image(struct store *s, const struct versions *v, size_t i, uint64_t *numbers, struct catalogue_image *out)
{
	const char *name = v->list[i].manifest.name;
	struct public_key key;

	*out = (struct catalogue_image){.versions = numbers};
	for (; i < v->count && !strcmp(v->list[i].manifest.name, name); i++) {
		out->newest = &v->list[i].manifest;
		if (!v->list[i].newest)
			numbers[out->version_count++] = v->list[i].manifest.version;
	}
	if (!store_image_key(s, name, &key, NULL))
		public_key_encode(&key, out->key);
	return i;
}

static int write_both(struct store *s, const struct versions *v, struct err *e)
{
	_cleanup_free_ struct catalogue_image *images = calloc(v->count + 1, sizeof(*images));
	_cleanup_free_ uint64_t *numbers = calloc(v->count + 1, sizeof(*numbers));
	_cleanup_buf_ struct buf page = BUF_INIT(CATALOGUE_PAGE_MAX);
	_cleanup_free_ char *text = NULL;
	size_t count = 0;
	int r;

	if (!images || !numbers)
		return err_set(e, -ENOMEM, "no memory for the catalogue");
	for (size_t i = 0; i < v->count; count++)
		i = find_image(s, v, i, numbers + i, &images[count]);
	r = catalogue_make(images, count, &page, &text, e);
	if (!r)
		r = file_save(s->fd, "catalog.json", text, strlen(text), 0, e);
	return r < 0 ? r : file_save(s->fd, "index.html", page.data, page.len, 0, e);
}

static void skip_bad(void *context, const char *file, const struct err *why)
{
}

int catalogue_write(struct store *s, struct err *e)
{
	_cleanup_close_ int lock =
		openat(s->fd, ".catalog.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
	struct versions v;
	int r;

	if (lock < 0)
		return err_errno(e, "cannot open %s/.catalog.lock", s->path);
	/* So that whoever reads the manifests first also writes first. */
	while (flock(lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return err_errno(e, "cannot lock %s/.catalog.lock", s->path);
	r = store_versions(s, NULL, skip_bad, NULL, &v, e);
	if (r < 0)
		return r;
	r = write_both(s, &v, e);
	versions_free(&v);
	return r;
}
