/* A small static web server for one store, for trying things out: HTTP/1.1, GET and HEAD, single
 * ranges, keep-alive, strong ETags. It hands out regular files below the folder and nothing else:
 * no listings, no dot files, no symbolic links. */
#ifndef PUBLISH_SERVER_H
#define PUBLISH_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "publish/store.h"

#define SERVER_THREADS 2
#define SERVER_CONNECTIONS 1024 /* fewer where the limit of open files is lower */

struct server;

struct server_options {
	const char *address; /* numeric IPv4 or IPv6 */
	uint16_t port;       /* 0: any that is free */
	bool log;            /* a line on stdout for each request */
};

/* Starts serving the open store, which must outlive the server. */
int server_start(
	struct server **out, const struct store *s, const struct server_options *o, struct err *e);

uint16_t server_port(const struct server *s);
bool server_beyond_loopback(const struct server *s);

/* "http://127.0.0.1:8080", with brackets for IPv6 and the wildcard address shown as loopback;
 * allocated, or NULL. */
char *server_url(const struct server *s);

/* Ends running transfers and frees it. */
void server_stop(struct server *s);

#endif
