/* DHCP: see dhcp.h. */
#include "network/dhcp.h"

#include <string.h>

#include "base/bytes.h"

#define HEAD 236 /* bytes before the magic number */
#define OPTIONS (HEAD + 4)
#define MAGIC 0x63825363
#define ANSWER_LEAST 300 /* bytes: some clients drop shorter ones, as those of BOOTP */

enum {
	OPTION_PAD = 0,
	OPTION_MASK = 1,
	OPTION_ROUTER = 3,
	OPTION_RESOLVER = 6,
	OPTION_NAME = 12,
	OPTION_DOMAIN = 15,
	OPTION_WANTED = 50,
	OPTION_LEASE = 51,
	OPTION_KIND = 53,
	OPTION_SERVER = 54,
	OPTION_END = 255,
};

static void take_option(struct dhcp_request *r, unsigned code, const uint8_t *value, size_t len)
{
	if (code == OPTION_KIND && len == 1)
		r->kind = value[0];
	else if (code == OPTION_WANTED && len == 4)
		r->wanted = load_be32(value);
	else if (code == OPTION_SERVER && len == 4)
		r->server = load_be32(value);
	else if (code == OPTION_NAME)
		name_clean(r->name, (const char *)value, len);
}

bool dhcp_parse(struct dhcp_request *r, const uint8_t *data, size_t len)
{
	*r = (struct dhcp_request){.head = data};
	/* a request, over Ethernet */
	if (len < OPTIONS || data[0] != 1 || data[1] != 1 || data[2] != 6 ||
		load_be32(data + HEAD) != MAGIC)
		return false;
	r->wanted = load_be32(data + 12);
	for (size_t at = OPTIONS; at < len && data[at] != OPTION_END;) {
		if (data[at] == OPTION_PAD) {
			at++;
			continue;
		}
		if (len - at < 2 || data[at + 1] > len - at - 2)
			return false;
		take_option(r, data[at], data + at + 2, data[at + 1]);
		at += 2 + (size_t)data[at + 1];
	}
	return r->kind == DHCP_DISCOVER || r->kind == DHCP_REQUEST || r->kind == DHCP_INFORM;
}

static uint8_t *put(uint8_t *at, unsigned code, const void *value, size_t len)
{
	*at++ = (uint8_t)code;
	*at++ = (uint8_t)len;
	memcpy(at, value, len);
	return at + len;
}

static uint8_t *put_number(uint8_t *at, unsigned code, uint32_t value)
{
	uint8_t bytes[4];

	store_be32(bytes, value);
	return put(at, code, bytes, sizeof(bytes));
}

static enum dhcp_kind answer_kind(const struct dhcp_request *r, const struct dhcp_answer *a)
{
	if (r->kind == DHCP_DISCOVER)
		return DHCP_OFFER;
	return r->kind == DHCP_INFORM || r->wanted == a->address ? DHCP_ACK : DHCP_NAK;
}

size_t dhcp_reply(uint8_t *out, const struct dhcp_request *r, const struct dhcp_answer *a)
{
	enum dhcp_kind kind = answer_kind(r, a);
	uint8_t *at = out + OPTIONS, byte = (uint8_t)kind;
	size_t len;

	memset(out, 0, DHCP_ANSWER_MAX);
	memcpy(out, r->head, 8);            /* with the request's number */
	memcpy(out + 10, r->head + 10, 2);  /* its flags */
	memcpy(out + 28, r->head + 28, 16); /* its address on the wire */
	out[0] = 2;
	if (kind != DHCP_NAK && r->kind != DHCP_INFORM)
		store_be32(out + 16, a->address);
	store_be32(out + HEAD, MAGIC);
	at = put(at, OPTION_KIND, &byte, 1);
	at = put_number(at, OPTION_SERVER, a->server);
	if (kind != DHCP_NAK) {
		if (r->kind != DHCP_INFORM)
			at = put_number(at, OPTION_LEASE, a->lease_s);
		at = put_number(at, OPTION_MASK, a->mask);
		if (a->router)
			at = put_number(at, OPTION_ROUTER, a->router);
		at = put_number(at, OPTION_RESOLVER, a->resolver);
		at = put(at, OPTION_DOMAIN, a->domain, strlen(a->domain));
		if (*a->name)
			at = put(at, OPTION_NAME, a->name, strlen(a->name));
	}
	*at++ = OPTION_END;
	len = (size_t)(at - out);
	return len < ANSWER_LEAST ? ANSWER_LEAST : len;
}
