/* The server: see server.h. libmicrohttpd does HTTP; here a request becomes a path, which the site turns into content. A connection whose
 * content takes a while is suspended, so that the few threads here never wait for anything. */
#include "publish/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define IDLE_SECONDS 60
#define OTHER_DESCRIPTORS 64 /* that are no connections and not their files */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct server {
	struct site site;
	struct MHD_Daemon *daemon;
	int fd; /* that listens, until the daemon has it */
	union address address;
	bool log;
};

struct request {
	struct server *server;
	struct MHD_Connection *connection;
	void *ticket;
	bool waits; /* for the ticket's content */
};

/* ---- answering ---- */

static bool path_valid(const char *path)
{
	if (*path != '/' || strlen(path) > SERVER_PATH_MAX)
		return false;
	for (const char *p = path; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == '\\')
			return false;
		if (*p == '/' && (p[1] == '.' || p[1] == '/'))
			return false;
	}
	return true;
}

static void log_request(
	struct MHD_Connection *c, const char *method, const char *path, unsigned status)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const char *range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range");
	char host[INET6_ADDRSTRLEN] = "?", line[SERVER_PATH_MAX + 128];

	if (info && info->client_addr->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)info->client_addr)->sin_addr, host,
			sizeof(host));
	else if (info && info->client_addr->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)info->client_addr)->sin6_addr,
			host, sizeof(host));
	snprintf(line, sizeof(line), "%.16s %.*s %u%s%.60s", method, SERVER_PATH_MAX, path, status,
		range ? " " : "", range ? range : "");
	text_clean(line);
	printf("%s %s\n", host, line);
	fflush(stdout);
}

static void resume(void *waiter)
{
	struct request *rq = waiter;

	MHD_resume_connection(rq->connection);
}

/* False: the connection is suspended. */
static bool find(struct server *s, struct request *rq, const char *path, struct content *out)
{
	if (rq->waits) {
		rq->waits = false;
		s->site.finish(s->site.context, rq->ticket, out);
		return true;
	}
	if (!strcmp(path, "/"))
		path = "/index.html";
	if (!path_valid(path)) {
		content_error(out, MHD_HTTP_NOT_FOUND, "There is no such file in this store.\n");
		return true;
	}
	if (s->site.find(s->site.context, path, out, &rq->ticket))
		return true;
	rq->waits = true;
	MHD_suspend_connection(rq->connection);
	s->site.wait(s->site.context, rq->ticket, resume, rq);
	return false;
}

static enum MHD_Result answer_content(struct server *s, struct request *rq, const char *path, const char *method)
{
	struct content content = CONTENT_INIT;
	struct MHD_Response *r;
	enum MHD_Result result;
	unsigned status;

	if (!find(s, rq, path, &content))
		return MHD_YES;
	r = response_make(rq->connection, strcmp(path, "/") ? path : "/index.html", !strcmp(method, "GET"), &content, &status);
	if (!r)
		return MHD_NO;
	result = MHD_queue_response(rq->connection, status, r);
	MHD_destroy_response(r);
	if (s->log)
		log_request(rq->connection, method, path, status);
	return result;
}

static enum MHD_Result refuse_method(struct server *s, struct request *rq, const char *path, const char *method)
{
	struct MHD_Response *r = response_text("Only GET and HEAD.\n");
	enum MHD_Result result;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Allow", "GET, HEAD");
	result = MHD_queue_response(rq->connection, MHD_HTTP_METHOD_NOT_ALLOWED, r);
	MHD_destroy_response(r);
	if (s->log)
		log_request(rq->connection, method, path, MHD_HTTP_METHOD_NOT_ALLOWED);
	return result;
}

static enum MHD_Result answer(void *context, struct MHD_Connection *c, const char *path,
	const char *method, const char *version, const char *upload, size_t *upload_len,
	void **state)
{
	struct server *s = context;
	struct request *rq = *state;

	if (!rq) { /* the first call of each request is before its body */
		*state = rq = calloc(1, sizeof(*rq));
		if (!rq)
			return MHD_NO;
		*rq = (struct request){.server = s, .connection = c};
		return MHD_YES;
	}
	if (*upload_len) { /* a body that nobody asked for */
		*upload_len = 0;
		return MHD_YES;
	}
	if (strcmp(method, "GET") && strcmp(method, "HEAD"))
		return refuse_method(s, rq, path, method);
	return answer_content(s, rq, path, method);
}

static void completed(void *context, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why)
{
	struct request *rq = *state;
	struct content content = CONTENT_INIT;

	if (!rq)
		return;
	if (rq->waits) { /* it was resumed, and its client is gone */
		rq->server->site.finish(rq->server->site.context, rq->ticket, &content);
		content_free(&content);
	}
	free(rq);
	*state = NULL;
}

/* ---- listening ---- */

static int parse_address(struct server *s, const struct server_options *o, struct err *e)
{
	if (inet_pton(AF_INET, o->address, &s->address.v4.sin_addr) == 1) {
		s->address.any.sa_family = AF_INET;
		s->address.v4.sin_port = htons(o->port);
	} else if (inet_pton(AF_INET6, o->address, &s->address.v6.sin6_addr) == 1) {
		s->address.any.sa_family = AF_INET6;
		s->address.v6.sin6_port = htons(o->port);
	} else {
		return err_set(e, -EINVAL, "%s is no IP address; 0.0.0.0 and :: stand for all",
			o->address);
	}
	return 0;
}

/* Our own socket, to say why it fails. */
static int listen_on(struct server *s, const struct server_options *o, struct err *e)
{
	bool v6 = s->address.any.sa_family == AF_INET6;
	socklen_t len = v6 ? sizeof(s->address.v6) : sizeof(s->address.v4);
	_cleanup_close_ int fd =
		socket(s->address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0)
		return err_errno(e, "cannot make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &s->address.any, len) < 0 || listen(fd, 128) < 0)
		return err_errno(e, "cannot listen on %s port %u (--port names another)", o->address, o->port);
	if (getsockname(fd, &s->address.any, &len) < 0)
		return err_errno(e, "cannot find the port");
	return steal_fd(&fd);
}

/* Each connection may need a second descriptor, for its file. */
static unsigned connection_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return SERVER_CONNECTIONS;
	if (limit.rlim_cur < 2 * SERVER_CONNECTIONS + OTHER_DESCRIPTORS) {
		limit.rlim_cur = 2 * SERVER_CONNECTIONS + OTHER_DESCRIPTORS;
		if (limit.rlim_cur > limit.rlim_max)
			limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= 2 * SERVER_CONNECTIONS + OTHER_DESCRIPTORS)
		return SERVER_CONNECTIONS;
	return limit.rlim_cur > OTHER_DESCRIPTORS + 2 * SERVER_THREADS
		       ? (unsigned)(limit.rlim_cur - OTHER_DESCRIPTORS) / 2
		       : SERVER_THREADS;
}

int server_open(struct server **out, const struct server_options *o, struct err *e)
{
	_cleanup_free_ struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "no memory for a server");
	s->log = o->log;
	r = parse_address(s, o, e);
	if (r < 0)
		return r;
	s->fd = listen_on(s, o, e);
	if (s->fd < 0)
		return s->fd;
	connection_limit(); /* while it may be raised */
	*out = steal_ptr(s);
	return 0;
}

int server_start(struct server *s, const struct site *site, struct err *e)
{
	s->site = *site;
	s->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
			(s->address.any.sa_family == AF_INET6 ? MHD_USE_IPv6 : 0),
		0, NULL, NULL, answer, s, MHD_OPTION_LISTEN_SOCKET, s->fd, MHD_OPTION_THREAD_POOL_SIZE,
		SERVER_THREADS, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
		MHD_OPTION_CONNECTION_LIMIT, connection_limit(), MHD_OPTION_NOTIFY_COMPLETED, completed, s, MHD_OPTION_END);
	if (!s->daemon)
		return err_set(e, -EIO, "cannot start the server");
	s->fd = -1;
	return 0;
}

uint16_t server_port(const struct server *s)
{
	return ntohs(s->address.any.sa_family == AF_INET6 ? s->address.v6.sin6_port
							  : s->address.v4.sin_port);
}

bool server_beyond_loopback(const struct server *s)
{
	if (s->address.any.sa_family == AF_INET6)
		return !IN6_IS_ADDR_LOOPBACK(&s->address.v6.sin6_addr);
	return ntohl(s->address.v4.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
}

static bool is_wildcard(const union address *a)
{
	return a->any.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) : !a->v4.sin_addr.s_addr;
}

/* In place of the wildcard address. IPv6 addresses of links need their interface's name, which others do not know. */
static void find_address(int family, union address *out)
{
	struct ifaddrs *list = NULL;

	if (family == AF_INET6)
		out->v6.sin6_addr = in6addr_loopback;
	else
		out->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (getifaddrs(&list) < 0)
		return;
	for (const struct ifaddrs *at = list; at; at = at->ifa_next) {
		const union address *a = (const union address *)at->ifa_addr;

		if (!a || a->any.sa_family != family || !(at->ifa_flags & IFF_UP) || at->ifa_flags & IFF_LOOPBACK)
			continue;
		if (family == AF_INET)
			out->v4.sin_addr = a->v4.sin_addr;
		else if (!IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr))
			out->v6.sin6_addr = a->v6.sin6_addr;
		else
			continue;
		break;
	}
	freeifaddrs(list);
}

char *server_url(const struct server *s)
{
	union address a = s->address;
	char host[INET6_ADDRSTRLEN] = "";

	if (is_wildcard(&a))
		find_address(a.any.sa_family, &a);
	if (a.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof(host));
		return file_path("http://[%s]:%u", host, server_port(s));
	}
	inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof(host));
	return file_path("http://%s:%u", host, server_port(s));
}

void server_stop(struct server *s)
{
	if (!s)
		return;
	if (s->daemon && s->site.cancel)
		s->site.cancel(s->site.context);
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}
