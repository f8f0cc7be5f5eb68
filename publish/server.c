/* The server: see server.h. libmicrohttpd does HTTP; here a request becomes a path, the path a
 * file, the file an answer with the right head. Paths are opened with openat2(RESOLVE_BENEATH |
 * RESOLVE_NO_SYMLINKS): the kernel, not text comparison, keeps them below the store. Where the
 * kernel lacks that call (before 5.6), O_NOFOLLOW at each component does the same. */
#include "publish/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define PATH_BYTES_MAX                                                                             \
	512 /* of a request: the longest right one, a name and "/manifest.N", is far shorter */
#define IDLE_SECONDS 60
#define OTHER_DESCRIPTORS 32 /* that are no connections and not their files */

struct server {
	const struct store *store;
	struct MHD_Daemon *daemon;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address;
	bool log;
};

/* A request that was read: what it asks of one file. */
struct wish {
	const char *if_match_none; /* If-None-Match, or NULL */
	const char *range;         /* Range, or NULL */
	const char *if_range;
};

static bool path_valid(const char *path)
{
	if (*path != '/' || strlen(path) > PATH_BYTES_MAX)
		return false;
	for (const char *p = path; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == '\\')
			return false;
		if (*p == '/' && (p[1] == '.' || p[1] == '/'))
			return false;
	}
	return true;
}

static int open_by_components(int dirfd, const char *path)
{
	_cleanup_close_ int at = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *slash;
	char part[PATH_BYTES_MAX + 1];

	while (at >= 0 && (slash = strchr(path, '/'))) {
		int next;

		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(at);
		at = next;
		path = slash + 1;
	}
	return at < 0 ? -1 : openat(at, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static int open_below(int dirfd, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 && (errno == ENOSYS || errno == EPERM) ? open_by_components(dirfd, path) : fd;
}

static const char *content_type(const char *path)
{
	const char *base = strrchr(path, '/') + 1;

	if (text_ends(base, ".html"))
		return "text/html; charset=utf-8";
	if (text_ends(base, ".json"))
		return "application/json";
	if (text_starts(base, "manifest") || text_starts(base, "next.") || text_ends(base, ".pub"))
		return "text/plain; charset=utf-8";
	return text_starts(path, "/blocks/") ? "application/zstd" : "application/octet-stream";
}

static const char *cache_control(const char *path)
{
	return text_starts(path, "/blocks/") || text_starts(path, "/packs/")
		       ? "public, max-age=31536000, immutable"
		       : "no-cache";
}

/* Does a list of ETags, or "*", name this one? Weak comparison, as If-None-Match has it. */
static bool etag_listed(const char *list, const char *etag)
{
	const char *at = strstr(list, etag);

	return !strcmp(list, "*") || (at && (at == list || strchr(" ,/", at[-1])));
}

/* Parses "bytes=a-b", "bytes=a-", "bytes=-n". 1: a range inside the file; 0: nothing that must be
 * heeded (another unit, several ranges, nonsense); -1: it cannot be satisfied. */
static int parse_range(const char *text, uint64_t size, uint64_t *start, uint64_t *len)
{
	char first[24] = "", last[24] = "";
	const char *dash;
	uint64_t a, b;

	if (!text_starts(text, "bytes="))
		return 0;
	text += 6;
	dash = strchr(text, '-');
	if (!dash || dash - text >= (ptrdiff_t)sizeof(first) || strlen(dash + 1) >= sizeof(last))
		return 0;
	memcpy(first, text, (size_t)(dash - text));
	strcpy(last, dash + 1);
	if ((*last && text_to_u64(last, &b) < 0) || (*first && text_to_u64(first, &a) < 0) ||
		(!*first && !*last))
		return 0;
	if (!*first) {
		if (!b || !size)
			return -1;
		*len = b < size ? b : size;
		*start = size - *len;
		return 1;
	}
	if (*last && b < a)
		return 0;
	if (a >= size)
		return -1;
	*start = a;
	*len = !*last || b >= size ? size - a : b - a + 1;
	return 1;
}

static struct MHD_Response *text_response(const char *text)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);

	if (r) {
		MHD_add_response_header(r, "Content-Type", "text/plain; charset=utf-8");
		MHD_add_response_header(r, "Cache-Control", "no-store");
	}
	return r;
}

static void add_file_headers(struct MHD_Response *r, const char *path, const char *etag)
{
	MHD_add_response_header(r, "ETag", etag);
	MHD_add_response_header(r, "Accept-Ranges", "bytes");
	MHD_add_response_header(r, "Cache-Control", cache_control(path));
}

/* Takes over fd. *status: what to answer. */
static struct MHD_Response *file_response(
	const char *path, const struct wish *w, int fd, const struct stat *st, unsigned *status)
{
	uint64_t size = (uint64_t)st->st_size, start = 0, len = size;
	struct MHD_Response *r;
	char etag[80], range[80];
	int ranged = 0;

	/* Strong: a file here is only ever replaced as a whole, by another inode. */
	snprintf(etag, sizeof(etag), "\"%llx-%llx-%llx\"", (unsigned long long)st->st_ino,
		(unsigned long long)size,
		(unsigned long long)st->st_mtim.tv_sec * 1000000000ULL +
			(unsigned long long)st->st_mtim.tv_nsec);
	*status = MHD_HTTP_OK;
	if (w->if_match_none && etag_listed(w->if_match_none, etag))
		*status = MHD_HTTP_NOT_MODIFIED;
	else if (w->range && (!w->if_range || !strcmp(w->if_range, etag)))
		ranged = parse_range(w->range, size, &start, &len);
	if (ranged < 0)
		*status = MHD_HTTP_RANGE_NOT_SATISFIABLE;
	if (*status != MHD_HTTP_OK) {
		close(fd);
		r = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
	} else {
		r = MHD_create_response_from_fd_at_offset64(len, fd, start);
		if (!r)
			close(fd);
	}
	if (!r)
		return NULL;
	add_file_headers(r, path, etag);
	if (*status == MHD_HTTP_OK)
		MHD_add_response_header(r, "Content-Type", content_type(path));
	if (ranged > 0) {
		*status = MHD_HTTP_PARTIAL_CONTENT;
		snprintf(range, sizeof(range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, start,
			start + len - 1, size);
		MHD_add_response_header(r, "Content-Range", range);
	} else if (ranged < 0) {
		snprintf(range, sizeof(range), "bytes */%" PRIu64, size);
		MHD_add_response_header(r, "Content-Range", range);
	}
	return r;
}

/* A file that is there but cannot be opened now must not look missing: readers give up on those. */
static struct MHD_Response *refusal(int error, unsigned *status)
{
	struct MHD_Response *r;

	switch (error) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EAGAIN:
	case EIO:
		*status = MHD_HTTP_SERVICE_UNAVAILABLE;
		r = text_response("The file cannot be opened now.\n");
		if (r)
			MHD_add_response_header(r, "Retry-After", "1");
		return r;
	case EACCES:
		*status = MHD_HTTP_FORBIDDEN;
		return text_response("The server may not read this file.\n");
	default:
		*status = MHD_HTTP_NOT_FOUND;
		return text_response("There is no such file in this store.\n");
	}
}

static struct MHD_Response *find(
	struct server *s, const char *path, const struct wish *w, unsigned *status)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (!strcmp(path, "/"))
		path = "/index.html";
	if (!path_valid(path))
		return refusal(ENOENT, status);
	fd = open_below(s->store->fd, path + 1);
	if (fd < 0 || fstat(fd, &st) < 0)
		return refusal(errno, status);
	if (!S_ISREG(st.st_mode))
		return refusal(ENOENT, status);
	return file_response(path, w, steal_fd(&fd), &st, status);
}

static void log_request(
	struct MHD_Connection *c, const char *method, const char *path, unsigned status)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const char *range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range");
	char host[INET6_ADDRSTRLEN] = "?", line[PATH_BYTES_MAX + 128];

	if (info && info->client_addr->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)info->client_addr)->sin_addr, host,
			sizeof(host));
	else if (info && info->client_addr->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)info->client_addr)->sin6_addr,
			host, sizeof(host));
	snprintf(line, sizeof(line), "%.16s %.*s %u%s%.60s", method, PATH_BYTES_MAX, path, status,
		range ? " " : "", range ? range : "");
	text_clean(line);
	printf("%s %s\n", host, line);
	fflush(stdout);
}

static enum MHD_Result answer(void *context, struct MHD_Connection *c, const char *path,
	const char *method, const char *version, const char *upload, size_t *upload_len,
	void **state)
{
	static int seen;
	struct server *s = context;
	struct wish w = {
		.if_match_none = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-None-Match"),
		.range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Range"),
		.if_range = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-Range"),
	};
	struct MHD_Response *r;
	enum MHD_Result result;
	unsigned status;

	if (!*state) { /* the first call of each request is before its body */
		*state = &seen;
		return MHD_YES;
	}
	if (*upload_len) { /* a body that nobody asked for */
		*upload_len = 0;
		return MHD_YES;
	}
	if (strcmp(method, "GET") && strcmp(method, "HEAD")) {
		status = MHD_HTTP_METHOD_NOT_ALLOWED;
		r = text_response("Only GET and HEAD.\n");
		if (r)
			MHD_add_response_header(r, "Allow", "GET, HEAD");
	} else {
		if (strcmp(method, "GET"))
			w.range = NULL; /* ranges are defined for GET only */
		r = find(s, path, &w, &status);
	}
	if (!r)
		return MHD_NO;
	result = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	if (s->log)
		log_request(c, method, path, status);
	return result;
}

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
	}
	if (limit.rlim_cur >= 2 * SERVER_CONNECTIONS + OTHER_DESCRIPTORS)
		return SERVER_CONNECTIONS;
	return limit.rlim_cur > OTHER_DESCRIPTORS + 2 * SERVER_THREADS
		       ? (unsigned)(limit.rlim_cur - OTHER_DESCRIPTORS) / 2
		       : SERVER_THREADS;
}

int server_start(struct server **out, const struct store *store, const struct server_options *o,
	struct err *e)
{
	_cleanup_free_ struct server *s = calloc(1, sizeof(*s));
	int fd, r;

	if (!s)
		return err_set(e, -ENOMEM, "no memory for a server");
	s->store = store;
	s->log = o->log;
	r = parse_address(s, o, e);
	if (r < 0)
		return r;
	fd = listen_on(s, o, e);
	if (fd < 0)
		return fd;
	s->daemon = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD |
			(s->address.any.sa_family == AF_INET6 ? MHD_USE_IPv6 : 0),
		0, NULL, NULL, answer, s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE,
		SERVER_THREADS, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
		MHD_OPTION_CONNECTION_LIMIT, connection_limit(), MHD_OPTION_END);
	if (!s->daemon) {
		close(fd);
		return err_set(e, -EIO, "cannot start the server");
	}
	*out = steal_ptr(s);
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

char *server_url(const struct server *s)
{
	char host[INET6_ADDRSTRLEN] = "";

	if (s->address.any.sa_family == AF_INET6) {
		bool all = IN6_IS_ADDR_UNSPECIFIED(&s->address.v6.sin6_addr);

		inet_ntop(AF_INET6, &s->address.v6.sin6_addr, host, sizeof(host));
		return file_path("http://[%s]:%u", all ? "::1" : host, server_port(s));
	}
	inet_ntop(AF_INET, &s->address.v4.sin_addr, host, sizeof(host));
	return file_path(
		"http://%s:%u", s->address.v4.sin_addr.s_addr ? host : "127.0.0.1", server_port(s));
}

void server_stop(struct server *s)
{
	MHD_stop_daemon(s->daemon);
	free(s);
}
