/* DNS: one question, and our own answers. No I/O, no allocation. (RFC 1035.) */
#ifndef NETWORK_DNS_H
#define NETWORK_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "network/names.h"

#define DNS_PORT 53
#define DNS_ANSWER_MAX 512 /* bytes */

enum dns_result { DNS_FOUND = 0, DNS_NO_SUCH_NAME = 3, DNS_REFUSED = 5 };

struct dns_question {
	char name[NAME_MAX_LEN + 1]; /* for NAME.inetboot: NAME in small letters; "" for others, and
					for the domain itself */
	bool ours;                   /* it is about the domain, or a name in it */
	bool address;                /* an IPv4 address is asked for */
	const uint8_t *data;         /* the message; len goes to the end of the question */
	size_t len;
};

/* False: no query that is well formed and asks for one thing. q is good as long as data. */
bool dns_parse(struct dns_question *q, const uint8_t *data, size_t len);

/* The answer: with the address where the result is DNS_FOUND and one is asked for, else empty. out
 * has room for DNS_ANSWER_MAX bytes. Returns the number of bytes. */
size_t dns_answer(
	uint8_t *out, const struct dns_question *q, enum dns_result result, uint32_t address);

#endif
