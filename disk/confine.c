/* Confining: see confine.h. */
#include "disk/confine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sandbox.h"
#include "fetch/url.h"

/* What a manifest's mirrors, and redirects, may use without being named by the person who starts us: with all ports, a hostile server
 * could send us to everything that this machine may talk to. 53: long answers of name servers. */
static const unsigned usual_ports[] = {53, 80, 443, 8080, 8443};

static void add_port(struct sandbox_rules *rules, const char *url)
{
	int port = url_port(url);

	if (port < 0)
		rules->incomplete = true;
	else
		sandbox_add_port(rules, (unsigned)port);
}

static void add_proxy(struct sandbox_rules *rules, const char *url)
{
	if (!url || !*url)
		return;
	add_port(rules, url);
	sandbox_add_port(rules, 1080); /* libcurl's own default for proxies */
}

static void add_network(struct sandbox_rules *rules, const struct image_options *o)
{
	static const char *const variables[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

	rules->network = true;
	for (const char **m = o->mirrors; m && *m; m++)
		add_port(rules, *m);
	add_proxy(rules, o->origin.proxy);
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]) && !o->origin.proxy; i++)
		add_proxy(rules, getenv(variables[i]));
	for (size_t i = 0; i < sizeof(usual_ports) / sizeof(usual_ports[0]); i++)
		sandbox_add_port(rules, usual_ports[i]);
	sandbox_add_path(rules, o->origin.cacert, SANDBOX_READ);
	if (o->origin.netrc && getenv("HOME")) {
		_cleanup_free_ char *netrc = file_path("%s/.netrc", getenv("HOME"));

		sandbox_add_path(rules, netrc, SANDBOX_READ);
	}
}

static void add_below(struct sandbox_rules *rules, const char *store, const char *name)
{
	_cleanup_free_ char *path = file_path("%s/%s", store, name);

	rules->incomplete |= !path;
	sandbox_add_path(rules, path, SANDBOX_READ);
}

/* A plain file; a store's folder; or an image in one: then not all that lies in the folder, which may be somebody's home. */
static void add_local(struct sandbox_rules *rules, const struct link *l)
{
	static const char *const parts[] = {"blocks", "packs", "catalog.json"};

	sandbox_add_path(rules, l->file, SANDBOX_READ);
	sandbox_add_path(rules, l->store, SANDBOX_LIST);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		add_below(rules, l->store, parts[i]);
}

static void add_folder(struct sandbox_rules *rules, const char *dir)
{
	if (dir && !file_mkdirs(dir, NULL))
		sandbox_add_path(rules, dir, SANDBOX_WRITE);
	else
		sandbox_add_path(rules, dir, SANDBOX_READ); /* a cache on a read-only medium */
}

static void add_link(struct sandbox_rules *rules, const char *link, const struct image_options *o)
{
	_cleanup_free_ char *cache = o->no_cache ? NULL : image_cache_dir(o, NULL);
	_cleanup_(link_free) struct link l = {0};

	if (!link_parse(&l, link, NULL) && !l.remote) {
		add_local(rules, &l);
	} else {
		add_port(rules, l.remote ? l.store : link);
		add_network(rules, o);
		add_folder(rules, cache);
	}
}

/* also: more files that may be read; NULL-terminated, or NULL. folder: one that may be written to; or NULL. */
static int confine(const char *const *links, size_t count, const struct image_options *o, const char *const *also, const char *folder,
	bool serve, struct err *e)
{
	_cleanup_free_ char *versions = file_xdg_dir("XDG_STATE_HOME", ".local/state", NULL);
	_cleanup_(sandbox_rules_free) struct sandbox_rules rules = {.serve = serve};

	for (size_t i = 0; i < count; i++)
		add_link(&rules, links[i], o);
	add_folder(&rules, versions);
	for (; also && *also; also++)
		sandbox_add_path(&rules, *also, SANDBOX_READ);
	if (folder)
		sandbox_add_path(&rules, folder, SANDBOX_WRITE);
	return sandbox_enter(&rules, e);
}

int image_confine(const char *link, const struct image_options *o, struct err *e)
{
	return confine(&link, 1, o, NULL, NULL, false, e);
}

int fetch_confine(const char *link, const struct image_options *o, const char *folder, struct err *e)
{
	return confine(&link, 1, o, NULL, folder, false, e);
}

int images_confine(const char *const *links, size_t count, const struct image_options *o, struct err *e)
{
	return confine(links, count, o, NULL, NULL, false, e);
}

int export_confine(const char *link, const struct image_options *o, const char *const *also, struct err *e)
{
	return confine(&link, 1, o, also, NULL, true, e);
}

int proxy_confine(const char *const *links, size_t count, const struct image_options *o, struct err *e)
{
	_cleanup_free_ char *cache = image_cache_dir(o, NULL);
	_cleanup_free_ char *versions = file_xdg_dir("XDG_STATE_HOME", ".local/state", NULL);
	_cleanup_(sandbox_rules_free) struct sandbox_rules rules = {.serve = true};

	for (size_t i = 0; i < count; i++) {
		_cleanup_(link_free) struct link l = {0};

		if (!link_parse(&l, links[i], NULL) && l.remote)
			add_port(&rules, l.store);
	}
	add_network(&rules, o);
	add_folder(&rules, cache);
	add_folder(&rules, versions);
	return sandbox_enter(&rules, e);
}
