/* A store in a folder as the server hands it out: regular files below it and nothing else, no dot files, no symbolic links. */
#ifndef PUBLISH_STORE_SITE_H
#define PUBLISH_STORE_SITE_H

#include "publish/server.h"
#include "publish/store.h"

/* The open store must outlive the server. */
struct site store_site(const struct store *s);

#endif
