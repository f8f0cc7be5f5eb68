/* Confining the process that opens an image: from the link and the options follows which files and which ports it needs. */
#ifndef DISK_CONFINE_H
#define DISK_CONFINE_H

#include "base/err.h"
#include "disk/image.h"

/* Call it before image_open(), with the same link (or, for the list of a store, the store's URL or folder) and options, while the process
 * has one thread; see base/sandbox.h for what is possible afterwards. Makes the cache's folder and the one that remembers
 * versions. What takes more rights, such as mounting and raising the kernel's readahead, belongs into another process, and messages must
 * go to where they stay: no file can be opened for them later.
 *
 * TCP ports: those of the link, of --mirror and of proxies, and the web's usual ones, which mirrors in a manifest and redirects may
 * use, too (sandbox_port_allowed()). A link to local files gives no network at all. */
int image_confine(const char *link, const struct image_options *o, struct err *e);

/* The same for who also writes files into a folder, which exists. */
int fetch_confine(const char *link, const struct image_options *o, const char *folder, struct err *e);

/* The same for who opens several images with the same options. */
int images_confine(const char *const *links, size_t count, const struct image_options *o, struct err *e);

/* The same for who hands the disk on over connections, which may be taken at sockets that listen already. also: files that it reads
 * besides, NULL-terminated; or NULL. */
int export_confine(const char *link, const struct image_options *o, const char *const *also, struct err *e);

/* The same for who fetches for others: several links, all to web servers; and connections may be taken at sockets that listen already. */
int proxy_confine(const char *const *links, size_t count, const struct image_options *o, struct err *e);

#endif
