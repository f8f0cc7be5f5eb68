/* A small web server: HTTP/1.1, GET and HEAD, single ranges, keep-alive, strong ETags. What it hands out a site says: a store in a folder
 * (store_site.h), or what a proxy has and fetches (proxy.h). */
#ifndef PUBLISH_SERVER_H
#define PUBLISH_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "publish/response.h"

#define SERVER_THREADS 2
#define SERVER_CONNECTIONS 1024 /* fewer where the limit of open files is lower */
/* Bytes of a request's path: the longest right one, a name and "/manifest.N", is far shorter. */
#define SERVER_PATH_MAX 512

typedef void (*site_done)(void *waiter);

struct site {
	void *context;

	/* What a path stands for; it begins with a slash, has no empty component and none that begins with a dot. True: *out, which is
	 * CONTENT_INIT before, says it. False: it takes a while, and there is a ticket. Any thread; must not block for long. */
	bool (*find)(void *context, const char *path, struct content *out, void **ticket);

	/* Once for each ticket: done(waiter) is called once as soon as its content is known, by another thread or in here. */
	void (*wait)(void *context, void *ticket, site_done done, void *waiter);

	/* Once for each ticket, after done(): its content. These three: NULL where find() is always true. */
	void (*finish)(void *context, void *ticket, struct content *out);

	/* Makes all that are waiting done, at once. Later calls of find() must be true. May be NULL. */
	void (*cancel)(void *context);
};

struct server;

struct server_options {
	const char *address; /* numeric IPv4 or IPv6 */
	uint16_t port;       /* 0: any that is free */
	bool log;            /* a line on stdout for each request */
};

/* Listens, and leaves those who come waiting. */
int server_open(struct server **out, const struct server_options *o, struct err *e);
/* Starts serving the site, whose context must outlive the server. Once. */
int server_start(struct server *s, const struct site *site, struct err *e);

uint16_t server_port(const struct server *s);
bool server_beyond_loopback(const struct server *s);
/* "http://127.0.0.1:8080", with brackets for IPv6. For the wildcard address: one of this machine's that others reach, or loopback where
 * there is none. Allocated, or NULL. */
char *server_url(const struct server *s);

/* Ends running transfers and frees it. NULL is fine. */
void server_stop(struct server *s);

#endif
