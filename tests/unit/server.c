/* Servers for tests: see server.h. */
#include "server.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"

#define OPTIONS_MAX 16
#define READY_MS 20000

void folder_make(char out[64])
{
	const char *tmp = getenv("TMPDIR");

	snprintf(out, 64, "%s/inetboot-test-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
	assert_non_null(mkdtemp(out));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void folder_remove(const char *dir)
{
	assert_int_equal(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static unsigned read_port(int fd)
{
	char text[16];
	size_t len = 0;

	while (len < sizeof(text) - 1) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		if (text[len - 1] == '\n')
			break;
	}
	text[len] = 0;
	return (unsigned)strtoul(text, NULL, 10);
}

void server_start(struct server *s, const char *const *options)
{
	const char *argv[OPTIONS_MAX] = {"python3", SOURCE_DIR "/tests/badserver.py"};
	int in[2], out[2];
	size_t n = 2;

	folder_make(s->dir);
	argv[n++] = s->dir;
	for (; options && *options; options++) {
		assert_true(n < OPTIONS_MAX - 1);
		argv[n++] = *options;
	}
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (!s->pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	s->in = in[1];
	s->port = read_port(out[0]);
	close(out[0]);
	assert_int_not_equal(s->port, 0);
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", s->port);
}

void server_stop(struct server *s)
{
	int status;

	close(s->in);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	folder_remove(s->dir);
}

static size_t keep_body(char *data, size_t size, size_t count, void *context)
{
	return buf_append(context, data, size * count) < 0 ? 0 : size * count;
}

/* Talks to the control URL; returns the answer. */
static json_t *control(struct server *s, const char *post)
{
	struct buf body = BUF_INIT(16 << 20);
	CURL *easy = curl_easy_init();
	char url[96];
	json_t *out;

	snprintf(url, sizeof(url), "%s/__control", s->url);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, 20L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
	if (post)
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, post);
	assert_int_equal(curl_easy_perform(easy), 0);
	curl_easy_cleanup(easy);
	out = json_loadb((const char *)body.data, body.len, 0, NULL);
	buf_free(&body);
	assert_non_null(out);
	return out;
}

void server_rules(struct server *s, ...)
{
	json_t *list = json_array(), *orders;
	const char *rule;
	char *text;
	va_list ap;

	va_start(ap, s);
	while ((rule = va_arg(ap, const char *)))
		json_array_append_new(list, json_string(rule));
	va_end(ap);
	orders = json_pack("{s:o, s:b, s:b}", "rules", list, "clear", 1, "forget", 1);
	text = json_dumps(orders, 0);
	json_decref(control(s, text));
	json_decref(orders);
	free(text);
}

void server_gone(struct server *s, double seconds)
{
	char text[64];

	snprintf(text, sizeof(text), "{\"gone\": %f}", seconds);
	json_decref(control(s, text));
}

json_t *server_log(struct server *s)
{
	return control(s, NULL);
}

size_t server_requests(struct server *s)
{
	json_t *log = server_log(s);
	size_t count = json_array_size(json_object_get(log, "requests"));

	json_decref(log);
	return count;
}

uint8_t *server_file(struct server *s, const char *name, size_t len, uint64_t seed)
{
	char path[512];
	uint8_t *data = malloc(len + 1);
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
	int fd;

	assert_non_null(data);
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		data[i] = (uint8_t)(x >> 32);
	}
	snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(file_write(fd, data, len), 0);
	close(fd);
	return data;
}

static int run(const char *const *argv)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool certificate_make(const char *dir)
{
	char key[128], cert[128];
	const char *const argv[] = {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out",
		cert, NULL};
	int r;

	snprintf(key, sizeof(key), "%s/key.pem", dir);
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	r = run(argv);
	if (r == 127)
		return false;
	assert_int_equal(r, 0);
	return true;
}

static unsigned free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	close(fd);
	return ntohs(a.sin_port);
}

static bool listens(unsigned port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is = !connect(fd, (struct sockaddr *)&a, sizeof(a));

	close(fd);
	return is;
}

static void nginx_configure(const char *path, unsigned port, const char *dir, const char *certs)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fprintf(f,
		"%sdaemon off; master_process off; pid %s/nginx.pid; error_log %s/error.log;\n"
		"events { worker_connections 256; }\n"
		"http {\n"
		"  log_format connections '$connection $server_protocol'; access_log %s/access.log "
		"connections;\n"
		"  client_body_temp_path %s/t1; proxy_temp_path %s/t2; fastcgi_temp_path %s/t3;\n"
		"  uwsgi_temp_path %s/t4; scgi_temp_path %s/t5;\n"
		"  server { listen 127.0.0.1:%u ssl http2; root %s;\n"
		"    ssl_certificate %s/cert.pem; ssl_certificate_key %s/key.pem; }\n"
		"}\n",
		geteuid() ? "" : "user root; ", certs, certs, certs, certs, certs, certs, certs,
		certs, port, dir, certs, certs);
	fclose(f);
}

bool nginx_start(struct server *s, const char *dir, const char *certs)
{
	char conf[128], log[128];
	const char *const argv[] = {"nginx", "-e", log, "-c", conf, NULL};
	uint64_t end = clock_ms() + READY_MS;

	if (access("/usr/sbin/nginx", X_OK) < 0)
		return false;
	s->port = free_port();
	snprintf(s->url, sizeof(s->url), "https://127.0.0.1:%u", s->port);
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	snprintf(conf, sizeof(conf), "%s/nginx.conf", certs);
	snprintf(log, sizeof(log), "%s/error.log", certs);
	nginx_configure(conf, s->port, dir, certs);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (!s->pid) {
		execv("/usr/sbin/nginx", (char *const *)argv);
		_exit(127);
	}
	while (!listens(s->port)) {
		assert_true(clock_ms() < end);
		assert_int_equal(waitpid(s->pid, NULL, WNOHANG), 0);
		usleep(10000);
	}
	return true;
}

void nginx_stop(struct server *s)
{
	kill(s->pid, SIGTERM);
	assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
}
