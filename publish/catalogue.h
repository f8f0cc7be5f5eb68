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

#include "base/err.h"
#include "publish/store.h"

/* Writes both files anew. Two callers at once are fine. */
int catalogue_write(struct store *s, struct err *e);

#endif
