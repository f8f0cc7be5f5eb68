/* Helpers of tests that talk HTTP: tests/badserver.py and nginx as children, their folders and
 * logs. Every failure in here fails the running cmocka test. */
#ifndef TESTS_SERVER_H
#define TESTS_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct server {
	pid_t pid;
	int in; /* closing it ends badserver.py */
	unsigned port;
	char dir[64]; /* what it serves; removed by server_stop() */
	char url[64]; /* http://127.0.0.1:PORT */
};

/* Starts badserver.py on an empty folder of its own. options: NULL-terminated further arguments, or
 * NULL. */
void server_start(struct server *s, const char *const *options);
void server_stop(struct server *s);

/* Rules instead of those before, and an empty log. rules: NULL-terminated list. */
void server_rules(struct server *s, ...) __attribute__((sentinel));
/* No listening socket for `seconds`. */
void server_gone(struct server *s, double seconds);
/* The log: see badserver.py. The caller releases it. */
json_t *server_log(struct server *s);
size_t server_requests(struct server *s);

/* Writes len pseudo-random bytes, the same for the same seed, into DIR/name; returns them (free()).
 */
uint8_t *server_file(struct server *s, const char *name, size_t len, uint64_t seed);

/* A temporary folder, and its removal with all that is in it. */
void folder_make(char out[64]);
void folder_remove(const char *dir);

/* Makes a key and a self-signed certificate for localhost and 127.0.0.1: DIR/cert.pem, DIR/key.pem.
 * false: no openssl here. */
bool certificate_make(const char *dir);

/* Starts nginx with TLS and HTTP/2 on `dir` with the certificate in `certs`; its log of "CONNECTION
 * PROTOCOL" lines is CERTS/access.log. false: no nginx here. */
bool nginx_start(struct server *s, const char *dir, const char *certs);
void nginx_stop(struct server *s);

#endif
