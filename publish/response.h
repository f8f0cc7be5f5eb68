/* Content, and the HTTP answer that it becomes: whole or a range, or nothing where the client has it already. */
#ifndef PUBLISH_RESPONSE_H
#define PUBLISH_RESPONSE_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#define CONTENT_ETAG_MAX 80

/* What a path stands for. Initialise with CONTENT_INIT. */
struct content {
	unsigned status;  /* of HTTP: 200, or why there is nothing */
	const char *text; /* a sentence for people, where it is not 200; constant */
	int fd;		  /* of a regular file; owned. -1: data */
	const void *data;
	uint64_t size;
	char etag[CONTENT_ETAG_MAX]; /* strong, with its quotes */
	void (*release)(void *owner); /* of data; may be NULL */
	void *owner;
	bool dated;	  /* age_s counts */
	bool stale;	  /* older than it should be, as nobody can be asked */
	uint64_t age_s;
	unsigned retry_after_s; /* 0: not said */
};

#define CONTENT_INIT                                                                               \
	{                                                                                          \
		.status = MHD_HTTP_OK, .fd = -1                                                    \
	}

/* An error: nothing else is in *c. */
void content_error(struct content *c, unsigned status, const char *text);
void content_free(struct content *c);

/* The answer to what a connection asked of `path`, which begins with a slash. Takes the content over in any case. *status: what to answer. NULL
 * without memory. */
struct MHD_Response *response_make(
	struct MHD_Connection *connection, const char *path, bool is_get, struct content *c, unsigned *status);

/* One that needs no content. */
struct MHD_Response *response_text(const char *text);

#endif
