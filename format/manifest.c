/* Reading: every value goes through one of the get_ functions, which check type and bounds and name
 * the key in the error. Absent optional keys leave the zero that the struct starts with.
 *
 * Writing: the text is built, then parsed again by the same reader: what readers would refuse is
 * never signed. */
#include "format/manifest.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "format/index.h"
#include "format/json_bounded.h"

#define VALUES_MAX 32768 /* JSON values: 4 MB of memory; thousands of modules */
#define STORED_MAX (2 * MANIFEST_SIZE_MAX) /* no encoding of an image is twice as large */

static void free_json(json_t **j)
{
	json_decref(*j);
}

#define _cleanup_json_ _cleanup_(free_json)

/* An integer from least to most. */
static int get_u64(json_t *object, const char *key, uint64_t least, uint64_t most, uint64_t *out,
	struct err *e)
{
	json_t *value = json_object_get(object, key);
	json_int_t n;

	if (!json_is_integer(value))
		return err_set(
			e, -EINVAL, "\"%s\" is %s", key, value ? "not an integer" : "missing");
	n = json_integer_value(value);
	if (n < 0 || (uint64_t)n < least || (uint64_t)n > most)
		return err_set(e, -EINVAL, "\"%s\" is %lld, which is not in %llu to %llu", key,
			(long long)n, (unsigned long long)least, (unsigned long long)most);
	*out = (uint64_t)n;
	return 0;
}

static int get_u32(json_t *object, const char *key, uint32_t least, uint32_t most, uint32_t *out,
	struct err *e)
{
	uint64_t value;
	int r = get_u64(object, key, least, most, &value, e);

	if (r >= 0)
		*out = (uint32_t)value;
	return r;
}

/* Is it text of 1 to most bytes that may be shown on a terminal? jansson has checked that it is
 * UTF-8 without NUL. */
static bool plain_text(const char *text, size_t most)
{
	size_t len = strnlen(text, most + 1);

	if (!len || len > most)
		return false;
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
			return false;
	return true;
}

/* A string of at most `most` bytes, owned by the JSON value. */
static int get_text(json_t *object, const char *key, size_t most, const char **out, struct err *e)
{
	json_t *value = json_object_get(object, key);

	if (!json_is_string(value))
		return err_set(e, -EINVAL, "\"%s\" is %s", key, value ? "not a string" : "missing");
	if (!plain_text(json_string_value(value), most))
		return err_set(e, -EINVAL,
			"\"%s\" is empty, longer than %zu bytes, or has control characters", key,
			most);
	*out = json_string_value(value);
	return 0;
}

static int get_time(json_t *object, const char *key, char out[32], struct err *e)
{
	const char *text;
	int r = get_text(object, key, 31, &text, e);

	if (r < 0)
		return r;
	if (manifest_time(text) < 0)
		return err_set(e, -EINVAL, "\"%s\" is no time like 2026-01-31T12:00:00Z", key);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int get_hash(json_t *object, const char *key, struct hash *out, struct err *e)
{
	const char *text;
	int r = get_text(object, key, HASH_HEX_MAX - 1, &text, e);

	if (r < 0)
		return r;
	if (hex_decode(out->bytes, HASH_LEN, text, strlen(text)) < 0 || hash_is_hole(out))
		return err_set(e, -EINVAL, "\"%s\" is no SHA-256 in lower-case hexadecimal", key);
	return 0;
}

static int get_object(json_t *object, const char *key, json_t **out, struct err *e)
{
	*out = json_object_get(object, key);
	if (!json_is_object(*out))
		return err_set(e, -EINVAL, "\"%s\" is %s", key, *out ? "not an object" : "missing");
	return 0;
}

/* An optional array of at most `most`; *count is 0 where it is absent. */
static int get_array(
	json_t *object, const char *key, size_t most, json_t **out, size_t *count, struct err *e)
{
	*out = json_object_get(object, key);
	*count = 0;
	if (!*out)
		return 0;
	if (!json_is_array(*out))
		return err_set(e, -EINVAL, "\"%s\" is not an array", key);
	if (json_array_size(*out) > most)
		return err_set(e, -EINVAL, "\"%s\" has %zu entries, more than %zu", key,
			json_array_size(*out), most);
	*count = json_array_size(*out);
	return 0;
}

static int parse_tree(struct tree *out, json_t *object, struct err *e)
{
	int r;

	if (!json_is_object(object))
		return err_set(e, -EINVAL, "not an object");
	r = get_hash(object, "root", &out->root, e);
	if (r >= 0)
		r = get_u32(object, "depth", 1, MANIFEST_DEPTH_MAX, &out->depth, e);
	if (r >= 0)
		r = get_u64(object, "size", 1, MANIFEST_SIZE_MAX, &out->size, e);
	return r;
}

static int parse_optional_tree(struct tree *out, json_t *object, const char *key, struct err *e)
{
	json_t *value = json_object_get(object, key);
	int r = value ? parse_tree(out, value, e) : 0;

	if (r < 0)
		err_add(e, "\"%s\"", key);
	return r;
}

static int parse_modules(struct boot_entry *b, json_t *object, struct err *e)
{
	json_t *array;
	size_t count;
	int r;

	r = get_array(object, "modules", MANIFEST_MODULES_MAX, &array, &count, e);
	if (r < 0 || !count)
		return r;
	b->modules = calloc(count, sizeof(*b->modules));
	if (!b->modules)
		return err_set(e, -ENOMEM, "no memory");
	b->module_count = count;
	for (size_t i = 0; i < count; i++) {
		r = parse_tree(&b->modules[i], json_array_get(array, i), e);
		if (r < 0) {
			err_add(e, "\"modules\"[%zu]", i);
			return r;
		}
	}
	return 0;
}

/* A word such as ext4 or uml. Which words mean something is the reader's business: it may be older
 * than they are. */
static bool is_word(const char *text)
{
	return !text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-.")];
}

static int get_word(json_t *object, const char *key, const char **out, struct err *e)
{
	int r = get_text(object, key, 31, out, e);

	if (r >= 0 && !is_word(*out))
		r = err_set(e, -EINVAL,
			"\"%s\" is not a word of lower-case letters, digits, '_', '-' and '.'",
			key);
	return r;
}

static int parse_boot_entry(struct boot_entry *b, json_t *object, struct err *e)
{
	const char *title, *type, *cmdline = NULL;
	int r;

	if (!json_is_object(object))
		return err_set(e, -EINVAL, "not an object");
	r = get_text(object, "title", MANIFEST_TEXT_MAX, &title, e);
	if (r >= 0)
		r = get_word(object, "type", &type, e);
	if (r >= 0 && json_object_get(object, "cmdline"))
		r = get_text(object, "cmdline", MANIFEST_TEXT_MAX, &cmdline, e);
	if (r < 0)
		return r;
	b->title = strdup(title);
	b->type = strdup(type);
	b->cmdline = cmdline ? strdup(cmdline) : NULL;
	if (!b->title || !b->type || (cmdline && !b->cmdline))
		return err_set(e, -ENOMEM, "no memory");
	r = parse_optional_tree(&b->kernel, object, "kernel", e);
	if (r >= 0)
		r = parse_optional_tree(&b->initrd, object, "initrd", e);
	if (r >= 0)
		r = parse_modules(b, object, e);
	return r;
}

static int parse_boot(struct manifest *m, json_t *root, struct err *e)
{
	json_t *array;
	size_t count;
	int r;

	r = get_array(root, "boot", MANIFEST_BOOT_MAX, &array, &count, e);
	if (r < 0 || !count)
		return r;
	m->boot = calloc(count, sizeof(*m->boot));
	if (!m->boot)
		return err_set(e, -ENOMEM, "no memory");
	m->boot_count = count;
	for (size_t i = 0; i < count; i++) {
		r = parse_boot_entry(&m->boot[i], json_array_get(array, i), e);
		if (r < 0) {
			err_add(e, "\"boot\"[%zu]", i);
			return r;
		}
	}
	return 0;
}

/* http[s]://host..., printable ASCII without spaces, no user name or password, no fragment. */
static bool mirror_valid(const char *url)
{
	const char *host = text_starts(url, "http://")    ? url + 7
			   : text_starts(url, "https://") ? url + 8
							  : NULL;
	size_t host_len = host ? strcspn(host, "/?") : 0;

	if (!host_len || memchr(host, '@', host_len) || strlen(url) > MANIFEST_TEXT_MAX)
		return false;
	for (; *url; url++)
		if (*url <= ' ' || *url >= 0x7f || *url == '#')
			return false;
	return true;
}

static int parse_mirrors(struct manifest *m, json_t *root, struct err *e)
{
	json_t *array;
	size_t count;
	int r;

	r = get_array(root, "mirrors", MANIFEST_MIRRORS_MAX, &array, &count, e);
	if (r < 0 || !count)
		return r;
	m->mirrors = calloc(count, sizeof(*m->mirrors));
	if (!m->mirrors)
		return err_set(e, -ENOMEM, "no memory");
	m->mirror_count = count;
	for (size_t i = 0; i < count; i++) {
		const char *url = json_string_value(json_array_get(array, i));

		if (!url || !mirror_valid(url))
			return err_set(e, -EINVAL, "\"mirrors\"[%zu] is no http or https URL", i);
		m->mirrors[i] = strdup(url);
		if (!m->mirrors[i])
			return err_set(e, -ENOMEM, "no memory");
	}
	return 0;
}

static int parse_index(struct manifest *m, json_t *root, struct err *e)
{
	json_t *index;
	int r;

	r = get_u64(root, "size", 1, MANIFEST_SIZE_MAX, &m->image.size, e);
	if (r >= 0)
		r = get_object(root, "index", &index, e);
	if (r >= 0)
		r = get_hash(index, "root", &m->image.root, e);
	if (r >= 0)
		r = get_u32(index, "depth", 1, MANIFEST_DEPTH_MAX, &m->image.depth, e);
	if (r >= 0) /* every chunk has a byte at least */
		r = get_u64(index, "chunks", 1, m->image.size, &m->chunks, e);
	return r;
}

static int parse_chunker(struct manifest *m, json_t *root, struct err *e)
{
	json_t *chunker;
	int r;

	if (!json_object_get(root, "chunker"))
		return 0;
	r = get_object(root, "chunker", &chunker, e);
	if (r >= 0)
		r = get_u32(chunker, "min", 1, INDEX_CHUNK_MAX, &m->chunk_min, e);
	if (r >= 0)
		r = get_u32(chunker, "avg", m->chunk_min, INDEX_CHUNK_MAX, &m->chunk_avg, e);
	if (r >= 0)
		r = get_u32(chunker, "max", m->chunk_avg, INDEX_CHUNK_MAX, &m->chunk_max, e);
	return r;
}

static int parse_parent(struct manifest *m, json_t *root, struct err *e)
{
	json_t *parent;
	int r;

	if (!json_object_get(root, "parent"))
		return 0;
	r = get_object(root, "parent", &parent, e);
	if (r >= 0)
		r = get_u64(parent, "version", 1, INT64_MAX, &m->parent_version, e);
	if (r >= 0)
		r = get_hash(parent, "root", &m->parent_root, e);
	return r;
}

static int parse_profile(struct manifest *m, json_t *root, struct err *e)
{
	json_t *profile;
	int r;

	if (!json_object_get(root, "profile"))
		return 0;
	r = get_object(root, "profile", &profile, e);
	if (r >= 0)
		r = get_hash(profile, "pack", &m->profile.pack, e);
	if (r >= 0)
		r = get_u64(profile, "size", 1, MANIFEST_PACK_MAX, &m->profile.size, e);
	if (r >= 0)
		r = get_u64(profile, "pages", 1, MANIFEST_SIZE_MAX, &m->profile.pages, e);
	if (r < 0)
		err_add(e, "\"profile\"");
	return r;
}

static int parse_next_key(struct manifest *m, json_t *root, struct err *e)
{
	const char *text;
	int r;

	if (!json_object_get(root, "next_key"))
		return 0;
	r = get_text(root, "next_key", PUBLIC_KEY_TEXT_LEN, &text, e);
	if (r >= 0) {
		r = public_key_decode(&m->next_key, text, strlen(text), e);
		if (r < 0)
			err_add(e, "\"next_key\"");
	}
	m->has_next_key = r >= 0;
	return r;
}

static int parse_revocation(struct manifest *m, json_t *root, struct err *e)
{
	json_t *revoked = json_object_get(root, "revoked");
	const char *reason = "";
	int r = 0;

	if (revoked && !json_is_boolean(revoked))
		return err_set(e, -EINVAL, "\"revoked\" is neither true nor false");
	m->revoked = json_is_true(revoked);
	if (m->revoked && m->has_next_key)
		return err_set(e, -EINVAL, "\"revoked\" and \"next_key\" exclude each other");
	if (m->revoked && json_object_get(root, "reason"))
		r = get_text(root, "reason", MANIFEST_REASON_MAX, &reason, e);
	if (r >= 0)
		memcpy(m->reason, reason, strlen(reason) + 1);
	return r;
}

static int parse_format(json_t *root, struct err *e)
{
	json_t *format = json_object_get(root, "format");

	if (!json_is_integer(format))
		return err_set(
			e, -EINVAL, "\"format\" is %s", format ? "not an integer" : "missing");
	if (json_integer_value(format) != MANIFEST_FORMAT)
		return err_set(e, -EPROTONOSUPPORT,
			"the image is in format %lld, this program reads format %d",
			(long long)json_integer_value(format), MANIFEST_FORMAT);
	return 0;
}

static int parse_head(struct manifest *m, json_t *root, struct err *e)
{
	const char *text;
	int r;

	r = get_text(root, "name", LINK_NAME_MAX, &text, e);
	if (r < 0)
		return r;
	if (!link_name_valid(text))
		return err_set(e, -EINVAL, "\"name\" is no valid image name: %s", text);
	memcpy(m->name, text, strlen(text) + 1);
	r = get_u64(root, "version", 1, INT64_MAX, &m->version, e);
	if (r >= 0)
		r = get_time(root, "created", m->created, e);
	if (r >= 0 && json_object_get(root, "expires"))
		r = get_time(root, "expires", m->expires, e);
	if (r >= 0 && json_object_get(root, "stored"))
		r = get_u64(root, "stored", 0, STORED_MAX, &m->stored, e);
	if (r < 0 || !json_object_get(root, "filesystem"))
		return r;
	r = get_word(root, "filesystem", &text, e);
	if (r >= 0)
		memcpy(m->filesystem, text, strlen(text) + 1);
	return r;
}

static int parse_root(struct manifest *m, json_t *root, struct err *e)
{
	static int (*const parts[])(struct manifest *, json_t *, struct err *) = {
		parse_head,
		parse_index,
		parse_chunker,
		parse_boot,
		parse_profile,
		parse_mirrors,
		parse_parent,
		parse_next_key,
		parse_revocation,
	};
	int r;

	if (!json_is_object(root))
		return err_set(e, -EINVAL, "not a JSON object");
	r = parse_format(root, e);
	for (size_t i = 0; r >= 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
		r = parts[i](m, root, e);
	return r;
}

int manifest_parse(struct manifest *out, const char *text, size_t len, struct err *e)
{
	_cleanup_json_ json_t *root = NULL;
	int r;

	memset(out, 0, sizeof(*out));
	if (len > MANIFEST_MAX)
		return err_set(e, -EINVAL, "manifest: %zu bytes, more than %d", len, MANIFEST_MAX);
	if (json_bounded(&root, text, len, VALUES_MAX, e) < 0) {
		err_add(e, "manifest");
		return -EINVAL;
	}
	r = parse_root(out, root, e);
	if (r < 0) {
		err_add(e, "manifest");
		manifest_free(out);
	}
	return r;
}

/* json_object_set_new() takes the value over even where it fails, and fails for NULL: so no value
 * needs a check of its own. */
static bool set(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0;
}

static bool set_u64(json_t *object, const char *key, uint64_t value)
{
	return value <= INT64_MAX && set(object, key, json_integer((json_int_t)value));
}

static bool set_hash(json_t *object, const char *key, const struct hash *h)
{
	char hex[HASH_HEX_MAX];

	hash_hex(h, hex);
	return set(object, key, json_string(hex));
}

/* The optional ones below are true where there is nothing to set. */
static bool set_text(json_t *object, const char *key, const char *text)
{
	return !text || !*text || set(object, key, json_string(text));
}

static json_t *encode_tree(const struct tree *t)
{
	_cleanup_json_ json_t *object = json_object();

	if (!set_hash(object, "root", &t->root) || !set_u64(object, "depth", t->depth) ||
		!set_u64(object, "size", t->size))
		return NULL;
	return steal_ptr(object);
}

static bool set_tree(json_t *object, const char *key, const struct tree *t)
{
	return !t->size || set(object, key, encode_tree(t));
}

static json_t *encode_modules(const struct boot_entry *b)
{
	_cleanup_json_ json_t *array = json_array();

	for (size_t i = 0; i < b->module_count; i++)
		if (json_array_append_new(array, encode_tree(&b->modules[i])) < 0)
			return NULL;
	return steal_ptr(array);
}

static json_t *encode_boot_entry(const struct boot_entry *b)
{
	_cleanup_json_ json_t *object = json_object();

	if (!set_text(object, "title", b->title) || !set_text(object, "type", b->type) ||
		!set_tree(object, "kernel", &b->kernel) ||
		!set_tree(object, "initrd", &b->initrd) ||
		(b->module_count && !set(object, "modules", encode_modules(b))) ||
		!set_text(object, "cmdline", b->cmdline))
		return NULL;
	return steal_ptr(object);
}

static json_t *encode_boot(const struct manifest *m)
{
	_cleanup_json_ json_t *array = json_array();

	for (size_t i = 0; i < m->boot_count; i++)
		if (json_array_append_new(array, encode_boot_entry(&m->boot[i])) < 0)
			return NULL;
	return steal_ptr(array);
}

static json_t *encode_mirrors(const struct manifest *m)
{
	_cleanup_json_ json_t *array = json_array();

	for (size_t i = 0; i < m->mirror_count; i++)
		if (json_array_append_new(array, json_string(m->mirrors[i])) < 0)
			return NULL;
	return steal_ptr(array);
}

static json_t *encode_index(const struct manifest *m)
{
	_cleanup_json_ json_t *object = json_object();

	if (!set_hash(object, "root", &m->image.root) ||
		!set_u64(object, "depth", m->image.depth) || !set_u64(object, "chunks", m->chunks))
		return NULL;
	return steal_ptr(object);
}

static json_t *encode_chunker(const struct manifest *m)
{
	_cleanup_json_ json_t *object = json_object();

	if (!set_u64(object, "min", m->chunk_min) || !set_u64(object, "avg", m->chunk_avg) ||
		!set_u64(object, "max", m->chunk_max))
		return NULL;
	return steal_ptr(object);
}

static json_t *encode_parent(const struct manifest *m)
{
	_cleanup_json_ json_t *object = json_object();

	if (!set_u64(object, "version", m->parent_version) ||
		!set_hash(object, "root", &m->parent_root))
		return NULL;
	return steal_ptr(object);
}

static json_t *encode_profile(const struct profile *p)
{
	_cleanup_json_ json_t *object = json_object();

	if (!set_hash(object, "pack", &p->pack) || !set_u64(object, "size", p->size) || !set_u64(object, "pages", p->pages))
		return NULL;
	return steal_ptr(object);
}

static bool set_next_key(json_t *root, const struct manifest *m)
{
	char text[PUBLIC_KEY_TEXT_MAX];

	if (!m->has_next_key)
		return true;
	public_key_encode(&m->next_key, text);
	return set(root, "next_key", json_string(text));
}

static bool set_revocation(json_t *root, const struct manifest *m)
{
	return !m->revoked || (set(root, "revoked", json_true()) && set_text(root, "reason", m->reason));
}

/* jansson keeps the order of the keys. */
static json_t *encode_root(const struct manifest *m)
{
	_cleanup_json_ json_t *root = json_object();

	if (!set_u64(root, "format", MANIFEST_FORMAT) || !set(root, "name", json_string(m->name)) ||
		!set_u64(root, "version", m->version) ||
		!set(root, "created", json_string(m->created)) ||
		!set_text(root, "expires", m->expires) || !set_u64(root, "size", m->image.size) ||
		!set(root, "index", encode_index(m)) ||
		(m->chunk_min && !set(root, "chunker", encode_chunker(m))) ||
		(m->stored && !set_u64(root, "stored", m->stored)) ||
		!set_text(root, "filesystem", m->filesystem) ||
		(m->boot_count && !set(root, "boot", encode_boot(m))) ||
		(m->profile.size && !set(root, "profile", encode_profile(&m->profile))) ||
		(m->mirror_count && !set(root, "mirrors", encode_mirrors(m))) ||
		(m->parent_version && !set(root, "parent", encode_parent(m))) ||
		!set_next_key(root, m) || !set_revocation(root, m))
		return NULL;
	return steal_ptr(root);
}

int manifest_encode(const struct manifest *m, struct buf *out, struct err *e)
{
	_cleanup_json_ json_t *root = encode_root(m);
	_cleanup_free_ char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	struct manifest again;
	int r;

	if (!text)
		return err_set(e, -EINVAL,
			"the manifest has text that is not UTF-8, or a number out of bounds");
	r = manifest_parse(&again, text, strlen(text), e);
	if (r < 0)
		return r;
	manifest_free(&again);
	r = buf_printf(out, "%s\n", text);
	return r < 0 ? err_set(e, r, "no room for a manifest of %zu bytes", strlen(text)) : 0;
}

static int number(const char *digits, int count)
{
	int value = 0;

	for (; count; count--, digits++)
		value = value * 10 + (*digits - '0');
	return value;
}

int64_t manifest_time(const char *text)
{
	static const char shape[] = "0000-00-00T00:00:00Z";
	struct tm t = {0}, again;
	time_t seconds;

	if (strnlen(text, sizeof(shape)) != sizeof(shape) - 1)
		return -1;
	for (size_t i = 0; i < sizeof(shape) - 1; i++)
		if (shape[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
			return -1;
	t.tm_year = number(text, 4) - 1900;
	t.tm_mon = number(text + 5, 2) - 1;
	t.tm_mday = number(text + 8, 2);
	t.tm_hour = number(text + 11, 2);
	t.tm_min = number(text + 14, 2);
	t.tm_sec = number(text + 17, 2);
	again = t;
	seconds = timegm(
		&again); /* it makes the 3rd of March of the 31st of February: that shows here */
	if (seconds < 0 || again.tm_year != t.tm_year || again.tm_mon != t.tm_mon ||
		again.tm_mday != t.tm_mday || again.tm_hour != t.tm_hour ||
		again.tm_min != t.tm_min || again.tm_sec != t.tm_sec)
		return -1;
	return seconds;
}

int manifest_time_text(char out[32], int64_t seconds)
{
	time_t at = (time_t)seconds;
	struct tm t;

	if (seconds < 0 || !gmtime_r(&at, &t) || t.tm_year > 9999 - 1900)
		return -ERANGE;
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &t);
	return 0;
}

static void boot_entry_free(struct boot_entry *b)
{
	free(b->title);
	free(b->type);
	free(b->cmdline);
	free(b->modules);
}

void manifest_free(struct manifest *m)
{
	for (size_t i = 0; i < m->boot_count; i++)
		boot_entry_free(&m->boot[i]);
	for (size_t i = 0; i < m->mirror_count; i++)
		free(m->mirrors[i]);
	free(m->boot);
	free(m->mirrors);
	memset(m, 0, sizeof(*m));
}
