/* A store's catalogue as a reader sees it: catalog.json, fetched from a web server or read from a folder. It is not signed: what it says
 * is a hint, and every image is checked by its own key. */
#ifndef DISK_CATALOG_H
#define DISK_CATALOG_H

#include <jansson.h>

#include "fetch/origin.h"

#define CATALOG_MAX (8u << 20) /* bytes: thousands of images */
#define CATALOG_VALUES_MAX (128u << 10) /* JSON values: 16 MB of memory */

/* Loads it; the result has an array "images" of objects, each with a valid "name" (others are left out); the rest must be checked by the
 * caller. New reference. store: URL or folder. origin: for a URL, opened on it. once: do not wait for a server that is gone. */
int catalog_load(json_t **out, const char *store, struct origin *origin, bool once, struct err *e);

/* One image's object, borrowed, or NULL. */
json_t *catalog_find(json_t *catalog, const char *name);

#endif
