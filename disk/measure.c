/* Measuring a mirror: see measure.h. It gets an origin of its own, so that no other mirror helps out, and its blocks go the whole way of a
 * read, but past memory of other readers and the cache. */
#include "disk/measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "disk/manifests.h"
#include "disk/store.h"
#include "format/layout.h"

#define READ_PART (256u << 10)	 /* bytes of the disk at a time */
#define AHEAD (4u << 20)
#define TYPICAL_BYTES 65536.0 /* a block, for comparing */

struct measuring {
	struct mirror_measure *out;
	struct origin *origin;
	const struct link *link;
	const struct image_options *o;
};

static int fail(struct mirror_measure *out, const char *state, const struct err *e)
{
	out->state = state;
	snprintf(out->text, sizeof(out->text), "%s", e->text);
	return e->code < 0 ? e->code : -EIO;
}

static int open_origin(struct measuring *m, const char *url, struct err *e)
{
	struct origin_options options = m->o->origin;

	if (!options.timeout_ms)
		options.timeout_ms = MEASURE_TIMEOUT_MS;
	options.home = m->link->store;
	return origin_open(&m->origin, &url, 1, &options, e);
}

/* ---- the manifest ---- */

/* One that was refused: which version does it say to be? */
static void look_at_version(struct measuring *m, const char *path)
{
	struct origin_request rq = {.path = path, .max = MANIFEST_MAX, .fresh = true, .once = true};
	struct origin_answer answer = {0};
	struct manifest manifest;
	const char *message;
	size_t len;

	if (origin_get(m->origin, &rq, &answer, NULL) < 0)
		return;
	if (!signature_open(NULL, (const char *)answer.body.data, answer.body.len, &message, &len, NULL) &&
		!manifest_parse(&manifest, message, len, NULL)) {
		m->out->version = manifest.version;
		manifest_free(&manifest);
	}
	buf_free(&answer.body);
}

static const char *state_of(int code)
{
	switch (code) {
	case -ENOENT:
		return "no manifest";
	case -ESTALE:
		return "old";
	case -EKEYREJECTED:
		return "wrong signature";
	case -EKEYREVOKED:
		return "revoked";
	case -EACCES:
		return "denied";
	case -EBADMSG:
		return "wrong answers";
	default:
		return "unreachable";
	}
}

static int check_manifest(struct measuring *m, const char *path, const struct manifest *newest, struct found_manifest *found)
{
	struct err e = ERR_INIT;
	int r = manifest_fetch(found, m->link, m->origin, NULL, false, &e);

	if (r < 0) {
		fail(m->out, state_of(r), &e);
		if (r == -ESTALE || r == -EKEYREJECTED)
			look_at_version(m, path);
		return r;
	}
	m->out->version = found->manifest.version;
	if (!newest || found->manifest.version >= newest->version)
		return 0;
	err_set(&e, -ESTALE, "another mirror has version %llu", (unsigned long long)newest->version);
	return fail(m->out, "old", &e);
}

/* ---- speed ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* There is a connection already. */
static void measure_latency(struct measuring *m, const char *path)
{
	struct origin_request rq = {.path = path, .max = MANIFEST_MAX, .once = true};
	double ms[MEASURE_ROUND_TRIPS];
	size_t n = 0;

	for (int i = 0; i < MEASURE_ROUND_TRIPS; i++) {
		struct origin_answer answer = {0};
		uint64_t start = clock_us();
		int r = origin_get(m->origin, &rq, &answer, NULL);

		buf_free(&answer.body);
		if (!r || r == -ENOENT)
			ms[n++] = (double)(clock_us() - start) / 1000;
	}
	qsort(ms, n, sizeof(*ms), compare);
	m->out->latency_ms = n ? ms[n / 2] : 0;
}

static uint64_t bytes_so_far(struct measuring *m)
{
	struct origin_stats s;

	origin_stats(m->origin, &s);
	return s.bytes;
}

static int read_on(struct measuring *m, struct source *source, struct err *e)
{
	_cleanup_free_ void *part = malloc(READ_PART);
	uint64_t start = clock_us(), before = bytes_so_far(m), spent;
	int r = part ? 0 : err_set(e, -ENOMEM, "no memory to read");

	for (uint64_t at = 0; !r && at < source->size; at += READ_PART) {
		size_t len = source->size - at < READ_PART ? (size_t)(source->size - at) : READ_PART;

		source_prefetch(source, at, AHEAD);
		r = source_read(source, part, len, at, e);
		if (bytes_so_far(m) - before >= MEASURE_BYTES || clock_us() - start >= MEASURE_MS * 1000)
			break;
	}
	spent = clock_us() - start;
	m->out->bytes = bytes_so_far(m) - before;
	if (spent && m->out->bytes)
		m->out->bytes_per_s = (double)m->out->bytes * 1e6 / (double)spent;
	return r;
}

static int measure_throughput(struct measuring *m, const struct manifest *manifest, struct err *e)
{
	struct blocks *blocks = NULL;
	struct source *source = NULL;
	struct budget budget;
	int r;

	budget_divide(&budget, m->o->memory_limit, false);
	r = blocks_open(&blocks, NULL, NULL, m->origin, &budget, e);
	if (!r)
		r = store_source_open(&source, blocks, &manifest->image, e);
	if (!r)
		r = read_on(m, source, e);
	source_close(source);
	if (blocks) {
		blocks_cancel(blocks);
		blocks_close(blocks);
	}
	return r;
}

/* ---- all of it ---- */

static uint64_t count_errors(struct origin *o)
{
	json_t *status = origin_status(o);
	uint64_t errors = (uint64_t)json_integer_value(json_object_get(json_array_get(status, 0), "errors"));

	json_decref(status);
	return errors;
}

static void measure(struct measuring *m, const struct manifest *newest)
{
	_cleanup_free_ char *path = layout_manifest(m->link->name, m->link->version);
	struct found_manifest found = {0};
	const struct manifest *manifest = newest;
	struct err e = ERR_INIT;
	int r;

	r = path ? check_manifest(m, path, newest, &found) : -ENOMEM;
	if (!r || r == -ENOENT || r == -ESTALE)
		measure_latency(m, path);
	if (!r)
		manifest = &found.manifest;
	/* One without a manifest may be a cache that has some of the blocks. */
	if ((!r || r == -ENOENT || r == -ESTALE) && manifest && measure_throughput(m, manifest, &e) < 0 && !r)
		r = fail(m->out, e.code == -ENOENT ? "not all blocks" : "wrong blocks", &e);
	m->out->good = !r;
	m->out->errors = count_errors(m->origin);
	found_manifest_free(&found);
}

void mirror_measure(struct mirror_measure *out, const char *url, const struct link *link, const struct manifest *newest,
	const struct image_options *o)
{
	struct measuring m = {.out = out, .link = link, .o = o};
	struct err e = ERR_INIT;

	*out = (struct mirror_measure){.url = url, .state = "good"};
	if (open_origin(&m, url, &e) < 0) {
		fail(out, "not usable", &e);
		return;
	}
	measure(&m, newest);
	origin_close(m.origin);
}

static double time_ms(const struct mirror_measure *m)
{
	return m->latency_ms + (m->bytes_per_s > 0 ? TYPICAL_BYTES * 1000 / m->bytes_per_s : 0);
}

int mirror_measure_compare(const struct mirror_measure *a, const struct mirror_measure *b)
{
	double x = time_ms(a), y = time_ms(b);

	if (a->good != b->good)
		return a->good ? -1 : 1;
	if ((x > 0) != (y > 0)) /* nothing is known of one that did not answer */
		return x > 0 ? -1 : 1;
	return x < y ? -1 : x > y;
}
