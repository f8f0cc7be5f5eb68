/* A caching proxy for a local network: hands on manifests, last words and blocks of the images that it was started for, fetching each
 * block once, and nothing else from nowhere else. It is a mirror of their stores, and a store of its own: catalog.json lists
 * its images.
 *
 * Who reaches it can make it fetch blocks of these stores, by their names, and nothing else: names of another form are refused,
 * what is no block with that hash is not handed on and not kept, and what a store does not have is not asked for again for some seconds. */
#ifndef PUBLISH_PROXY_H
#define PUBLISH_PROXY_H

#include "disk/image.h"
#include "publish/server.h"

#define PROXY_IMAGES_MAX 32

struct proxy;

/* Links with keys, of images on web servers. o: cache, mirrors and network; no_cache must not be set. The proxy must be closed after the
 * server that uses it was stopped. */
int proxy_open(struct proxy **out, const char *const *links, size_t count, const struct image_options *o, struct err *e);
struct site proxy_site(struct proxy *p);
void proxy_close(struct proxy *p);

/* The link of image i for those who use the proxy at this URL; allocated, or NULL: also for i = count. */
char *proxy_link(const struct proxy *p, size_t i, const char *url);

#endif
