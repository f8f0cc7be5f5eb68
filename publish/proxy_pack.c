/* Boot packs for a proxy: see proxy_pack.h. A client checks each segment, and reads blocks where
 * one is bad: so what is in the cache is not checked again each time it is asked for. */
#include "publish/proxy_pack.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "disk/pack_fetch.h"

static void set_file(struct content *out, int fd, const struct profile *profile)
{
	*out = (struct content){.status = MHD_HTTP_OK, .fd = fd, .size = profile->size};
	out->etag[0] = '"';
	hex_encode(out->etag + 1, profile->pack.bytes, 16);
	strcat(out->etag, "\"");
}

bool pack_from_cache(struct cache *cache, const struct profile *profile, struct content *out)
{
	bool whole = false;
	_cleanup_close_ int fd = cache_open_pack(cache, &profile->pack, &whole);
	struct stat st;

	if (fd < 0 || !whole || fstat(fd, &st) < 0)
		return false;
	if ((uint64_t)st.st_size != profile->size) {
		cache_drop_pack(cache, &profile->pack);
		return false;
	}
	set_file(out, steal_fd(&fd), profile);
	return true;
}

void pack_fetch(struct upstream *u, struct cache *cache, const struct profile *profile,
	uint64_t image_size, struct content *out)
{
	bool whole = false;
	_cleanup_close_ int fd = cache_open_pack(cache, &profile->pack, &whole);
	struct err e = ERR_INIT;
	int r;

	if (fd < 0 || whole || upstream_gone(u)) {
		content_error(out, MHD_HTTP_SERVICE_UNAVAILABLE,
			"The boot pack cannot be kept here, or its server does not answer.\n");
		return;
	}
	r = pack_fetch_all(fd, profile, image_size, u->origin, &e);
	upstream_note(u, r, e.text);
	if (r < 0) {
		log_debug("%s", e.text);
		content_error(out,
			r == -ENOENT    ? MHD_HTTP_NOT_FOUND
			: r == -EBADMSG ? MHD_HTTP_BAD_GATEWAY
					: MHD_HTTP_SERVICE_UNAVAILABLE,
			"The boot pack could not be fetched.\n");
		return;
	}
	cache_finish_pack(cache, &profile->pack, profile->size);
	set_file(out, steal_fd(&fd), profile);
}
