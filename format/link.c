/* A link is cut from the back: #KEY, then (in URLs) scheme and host are checked, then the last
 * component is split into NAME and @N. What stands before the last component is the store. */
#include "format/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"

#define EXAMPLE "a link looks like http://host/path/NAME#KEY, file:/path/NAME or ./NAME"
#define HOST_MAX 255

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool link_name_valid(const char *name)
{
	static const char *const taken[] = {"blocks", "packs", "index.html", "catalog.json"};
	size_t len = strlen(name);

	if (!len || len > LINK_NAME_MAX || !(is_letter(name[0]) || is_digit(name[0])))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_letter(name[i]) && !is_digit(name[i]) && !strchr("._-", name[i]))
			return false;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (!strcmp(name, taken[i]))
			return false;
	return true;
}

/* "http://" and the like: the length of the scheme with "://", or 0. */
static size_t scheme_len(const char *text)
{
	size_t n = 0;

	while (is_letter(text[n]) ||
		(n && (is_digit(text[n]) || (text[n] && strchr("+.-", text[n])))))
		n++;
	return n && text_starts(text + n, "://") ? n + 3 : 0;
}

static bool host_is_loopback(const char *host)
{
	struct in6_addr six;
	struct in_addr four;

	if (!strcasecmp(host, "localhost"))
		return true;
	if (inet_pton(AF_INET, host, &four) == 1)
		return ntohl(four.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

static int check_port(const char *port, size_t len, struct err *e)
{
	char text[6];
	uint64_t number = 0;

	if (len && len < sizeof(text)) {
		memcpy(text, port, len);
		text[len] = 0;
		if (text_to_u64(text, &number) < 0)
			number = 0;
	}
	if (!number || number > 65535)
		return err_set(e, -EINVAL, "the link's port is no number from 1 to 65535");
	return 0;
}

/* host[:port] of a URL, of len bytes. */
static int parse_authority(struct link *l, const char *text, size_t len, struct err *e)
{
	const char *end = text + len, *host = text, *host_end, *at;
	char copy[HOST_MAX + 1];

	if (memchr(text, '@', len))
		return err_set(e, -EINVAL,
			"a link holds no user name and no password: these belong into ~/.netrc");
	if (len && *text == '[') {
		struct in6_addr six;

		host++;
		host_end = memchr(host, ']', (size_t)(end - host));
		at = host_end ? host_end + 1 : NULL;
		if (!at || host_end - host > HOST_MAX)
			return err_set(
				e, -EINVAL, "the link's host is no [IPv6 address]; " EXAMPLE);
		memcpy(copy, host, (size_t)(host_end - host));
		copy[host_end - host] = 0;
		if (inet_pton(AF_INET6, copy, &six) != 1)
			return err_set(
				e, -EINVAL, "the link's host is no [IPv6 address]; " EXAMPLE);
	} else {
		host_end = memchr(host, ':', len);
		if (!host_end)
			host_end = end;
		at = host_end;
		if (host_end == host || host_end - host > HOST_MAX)
			return err_set(e, -EINVAL, "the link names no host; " EXAMPLE);
		for (const char *p = host; p < host_end;
			p++) /* other bytes than ASCII: international names */
			if (!is_letter(*p) && !is_digit(*p) && !strchr(".-_", *p) &&
				!((unsigned char)*p & 0x80))
				return err_set(e, -EINVAL,
					"the link's host has a '%c' in it; " EXAMPLE, *p);
		memcpy(copy, host, (size_t)(host_end - host));
		copy[host_end - host] = 0;
	}
	l->loopback = host_is_loopback(copy);
	if (at == end)
		return 0;
	if (*at != ':')
		return err_set(e, -EINVAL, "the link's host is followed by '%c'; " EXAMPLE, *at);
	return check_port(at + 1, (size_t)(end - at - 1), e);
}

/* The last component, NAME or NAME@N; *len becomes the length of it without @N. Anything else is a
 * file's name: l->name stays empty and *len as it is. */
static void parse_component(struct link *l, const char *text, size_t *len)
{
	const char *at = memrchr(text, '@', *len);
	size_t name_len = at ? (size_t)(at - text) : *len;
	char name[LINK_NAME_MAX + 1];
	uint64_t version = 0;

	if (name_len > LINK_NAME_MAX)
		return;
	if (at) {
		char number[24] = "";

		if (*len - name_len - 1 >= sizeof(number))
			return;
		memcpy(number, at + 1, *len - name_len - 1);
		if (text_to_u64(number, &version) < 0 || !version)
			return;
	}
	memcpy(name, text, name_len);
	name[name_len] = 0;
	if (!link_name_valid(name))
		return;
	memcpy(l->name, name, sizeof(name));
	l->version = version;
	*len = name_len;
}

/* path: what follows scheme and host, or a local path; it is part of the whole text, which starts
 * at `start`. */
static int parse_path(struct link *l, const char *start, const char *path, struct err *e)
{
	const char *query = l->remote ? strchr(path, '?') : NULL;
	const char *end = query ? query : path + strlen(path);
	const char *component, *store_end;
	size_t len;

	while (!query && end > path && end[-1] == '/')
		end--;
	component = memrchr(path, '/', (size_t)(end - path));
	component = component ? component + 1 : path;
	if (component == end || (l->remote && component == path))
		return err_set(e, -EINVAL, "the link names no image; " EXAMPLE);

	store_end = component;
	while (store_end > path && store_end[-1] == '/')
		store_end--;
	len = (size_t)(end - component);
	if (query) /* no store has query strings: it is a file, and they belong to it */
		len += strlen(query);
	else
		parse_component(l, component, &len);

	l->file = strndup(start, (size_t)(component - start) + len);
	if (store_end > start)
		l->store = strndup(start, (size_t)(store_end - start));
	else
		l->store = strdup(component > path ? "/" : ".");
	return l->file && l->store ? 0 : err_set(e, -ENOMEM, "no memory");
}

static int parse_url(struct link *l, char *text, size_t scheme, struct err *e)
{
	size_t authority;

	for (size_t i = 0; i < scheme; i++)
		if (text[i] >= 'A' && text[i] <= 'Z')
			text[i] += 'a' - 'A';
	if (strchr(text, ' '))
		return err_set(
			e, -EINVAL, "the link has a space in it (in a URL it is written %%20)");
	authority = strcspn(text + scheme, "/?");
	l->remote = true;
	if (parse_authority(l, text + scheme, authority, e) < 0)
		return -EINVAL;
	return parse_path(l, text, text + scheme + authority, e);
}

static int parse_file(struct link *l, const char *text, struct err *e)
{
	if (!strncasecmp(text, "file:", 5)) {
		text += 5;
		if (!strncasecmp(text, "//localhost/", 12))
			text += 11;
		else if (text_starts(text, "///"))
			text += 2;
		else if (text[0] != '/' || text[1] == '/')
			return err_set(e, -EINVAL,
				"file: needs a path from the root on, such as file:/path/NAME");
	}
	return parse_path(l, text, text, e);
}

/* Cuts #KEY off. */
static int parse_key(struct link *l, char *text, struct err *e)
{
	char *mark = strchr(text, '#');

	if (!mark)
		return 0;
	if (public_key_decode(&l->key, mark + 1, strlen(mark + 1), e) < 0) {
		err_add(e, "what stands behind # in the link is not the publisher's key");
		return -EINVAL;
	}
	l->has_key = true;
	*mark = 0;
	return 0;
}

static int parse(struct link *l, char *text, struct err *e)
{
	size_t scheme;

	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return err_set(
				e, -EINVAL, "the link has a control character in it; " EXAMPLE);
	if (parse_key(l, text, e) < 0)
		return -EINVAL;
	scheme = scheme_len(text);
	if (!scheme || !strncasecmp(text, "file:", 5))
		return parse_file(l, text, e);
	if (strncasecmp(text, "http://", scheme) != 0 && strncasecmp(text, "https://", scheme) != 0)
		return err_set(e, -EINVAL, "links of the kind %.*s are not supported; " EXAMPLE,
			(int)(scheme < 16 ? scheme : 16), text);
	return parse_url(l, text, scheme, e);
}

int link_parse(struct link *out, const char *text, struct err *e)
{
	_cleanup_free_ char *copy = NULL;
	int r;

	memset(out, 0, sizeof(*out));
	if (strnlen(text, LINK_LEN_MAX + 1) > LINK_LEN_MAX)
		return err_set(e, -EINVAL, "the link is longer than %d bytes", LINK_LEN_MAX);
	if (!*text)
		return err_set(e, -EINVAL, "the link is empty; " EXAMPLE);
	copy = strdup(text);
	if (!copy)
		return err_set(e, -ENOMEM, "no memory");
	r = parse(out, copy, e);
	if (r < 0)
		link_free(out);
	return r;
}

char *link_format(
	const char *store, const char *name, uint64_t version, const struct public_key *key)
{
	char number[24] = "", key_text[PUBLIC_KEY_TEXT_MAX] = "";
	char *text;

	if (version)
		snprintf(number, sizeof(number), "@%llu", (unsigned long long)version);
	if (key)
		public_key_encode(key, key_text);
	if (asprintf(&text, "%s%s%s%s%s%s", store, text_ends(store, "/") ? "" : "/", name, number,
		    key ? "#" : "", key_text) < 0)
		return NULL;
	return text;
}

void link_free(struct link *l)
{
	free(l->store);
	free(l->file);
	memset(l, 0, sizeof(*l));
}
