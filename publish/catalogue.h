/* The catalogue of a store: catalog.json for programs and index.html for people, made from the
 *manifests that are there.
 *
 *	catalog.json: { "format": 1, "images": [ { "name", "link", "key"?, "version", "versions":
 *[N...], "created", "expires"?, "size", "stored"?, "filesystem"?, "boot": [{"title", "type"}] } ] }
 *
 * Links in it are relative ("debian#RWQ..."): the store may move. It is not signed: a reader checks
 *each image by its link's key. */
#ifndef PUBLISH_CATALOGUE_H
#define PUBLISH_CATALOGUE_H

#include "base/buf.h"
#include "base/err.h"
#include "publish/store.h"

#define CATALOGUE_PAGE_MAX (64u << 20) /* bytes: bounds a store's catalogue, far above any use */

struct catalogue_image {
	const struct manifest *newest;
	const uint64_t *versions; /* that are kept; ascending */
	size_t version_count;
	char key[PUBLIC_KEY_TEXT_MAX]; /* "" where not known */
};

/* Appends the page to `page`, and gives the text of catalog.json, allocated. */
int catalogue_make(const struct catalogue_image *images, size_t count, struct buf *page, char **json, struct err *e);

/* Writes both files anew. Two callers at once are fine. */
int catalogue_write(struct store *s, struct err *e);

#endif
