/* The virtual disk for nbdkit, which speaks NBD: a read-only export, one disk for all connections, requests in parallel.
 *
 *	config			parameters (parameters.h)
 *	after_fork		nbdkit has bound its sockets and read its certificates. What comes from outside is parsed from here on, so
 *				the process goes into the sandbox first; then the image is opened
 *	open ... close		a connection
 *	cleanup			the end; reads that waited for the network were made to fail (quitting.h)
 *
 * Memory: a request's buffer is nbdkit's, one per thread and as large as the largest request of that thread; --memory-limit does not
 * know of them. */
#define NBDKIT_API_VERSION 2
#include <errno.h>
#include <fcntl.h>
#include <nbdkit-plugin.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/heap.h"
#include "base/text.h"
#include "disk/confine.h"
#include "export/nbdkit/parameters.h"
#include "export/nbdkit/quitting.h"
#include "export/nbdkit/system_log.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define EXTENT_STEPS 64 /* questions to the disk for one request: leaves of an index, or changes between data and hole */
#define PREFERRED (64u << 10)
#define MAXIMUM (32u << 20)

static struct {
	struct parameters parameters;
	int out; /* standard output, while nbdkit has not replaced it; -1 */
	struct image *image;
	char description[160];
} plugin = {.out = -1};

static void load(void)
{
	heap_tune();
	parameters_init(&plugin.parameters);
}

static int config(const char *key, const char *value)
{
	return parameters_take(&plugin.parameters, key, value);
}

static int config_complete(void)
{
	const struct parameters *p = &plugin.parameters;

	if (!p->link) {
		nbdkit_error("which image? link=LINK is missing");
		return -1;
	}
	if (p->ready && nbdkit_stdio_safe())
		plugin.out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return 0;
}

/* ---- opening the image ---- */

static void describe(const struct image *image)
{
	const struct manifest *m = &image->manifest;
	char size[TEXT_SIZE_MAX];

	text_size(size, disk_size(image->disk));
	if (image->in_store)
		snprintf(plugin.description, sizeof(plugin.description), "%s version %llu, %s%s%s", m->name,
			(unsigned long long)m->version, size, m->filesystem[0] ? ", " : "", m->filesystem);
	else
		snprintf(plugin.description, sizeof(plugin.description), "a disk of %s", size);
}

static void tell_ready(void)
{
	log_debug("%s: %s", plugin.image->text, plugin.description);
	if (plugin.out < 0)
		return;
	if (dprintf(plugin.out, "%s\n", plugin.parameters.ready) < 0)
		log_warning("cannot write to standard output: %s", strerror(errno));
	close(plugin.out);
	plugin.out = -1;
}

static int open_image(struct err *e)
{
	const struct parameters *p = &plugin.parameters;
	int r = export_confine(p->link, &p->image.o, p->files, e);

	if (!r)
		r = image_open(&plugin.image, p->link, &p->image.o, e);
	if (!r)
		r = image_open_disk(plugin.image, e);
	return r;
}

static int after_fork(void)
{
	struct err e = ERR_INIT;
	int r;

	log_setup(plugin.parameters.log_level, plugin.parameters.log_form);
	system_log_connect(); /* the sandbox does not allow it later */
	quitting_at_once();
	image_options_find_cache(&plugin.parameters.image);
	r = open_image(&e);
	if (!r) {
		r = quitting_watch(plugin.image->disk);
		if (r < 0)
			err_set(&e, r, "cannot start a thread: %s", strerror(-r));
	}
	if (r < 0) {
		nbdkit_error("cannot serve %s: %s", plugin.parameters.link, e.text);
		return -1;
	}
	describe(plugin.image);
	image_play(plugin.image, NULL, NULL);
	tell_ready();
	return 0;
}

static void cleanup(void)
{
	quitting_end();
	image_close(plugin.image);
	plugin.image = NULL;
}

static void dump_plugin(void)
{
	printf("inetboot_version=%s\n", INETBOOT_VERSION);
}

/* ---- what a client sees first ---- */

static int list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	return nbdkit_add_export(exports, plugin.parameters.export, plugin.description);
}

static const char *default_export(int readonly, int is_tls)
{
	return plugin.parameters.export;
}

static void *open_disk(int readonly)
{
	const char *wanted = nbdkit_export_name(), *ours = plugin.parameters.export;

	if (*ours && wanted && *wanted && strcmp(wanted, ours) != 0) {
		nbdkit_error("there is no export of the name that a client asks for, only %s", ours);
		nbdkit_set_error(ENOENT);
		return NULL;
	}
	return plugin.image->disk;
}

static const char *export_description(void *handle)
{
	return plugin.description;
}

static int64_t get_size(void *handle)
{
	return (int64_t)disk_size(handle);
}

static int block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	*minimum = 1;
	*preferred = PREFERRED;
	*maximum = MAXIMUM;
	return 0;
}

static int can_multi_conn(void *handle)
{
	return 1;
}

static int can_cache(void *handle)
{
	return NBDKIT_CACHE_NATIVE;
}

/* ---- requests ---- */

/* NBD has few errors; what is none of them would arrive as "invalid argument". */
static int fail(int r, const struct err *e)
{
	bool ending = r == -ECANCELED || r == -EINTR;

	if (!ending)
		nbdkit_error("%s", e->text);
	nbdkit_set_error(ending ? ESHUTDOWN : r == -ENOMEM ? ENOMEM : EIO);
	return -1;
}

static int pread_disk(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct err e = ERR_INIT;
	int r = disk_read(handle, buf, count, offset, &e);

	return r < 0 ? fail(r, &e) : 0;
}

static int cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	disk_prefetch(handle, offset, count);
	return 0;
}

/* Tells at least of the first bytes, and with REQ_ONE only of those that are alike. */
static int extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents)
{
	uint64_t end = offset + count;
	bool hole = false;

	for (int i = 0; i < EXTENT_STEPS && offset < end; i++) {
		struct err e = ERR_INIT;
		struct extent x;
		int r = disk_extent(handle, offset, end - offset, &x, &e);

		if (r < 0)
			return i ? 0 : fail(r, &e);
		if (i && x.hole != hole && (flags & NBDKIT_FLAG_REQ_ONE))
			return 0;
		hole = x.hole;
		if (nbdkit_add_extent(extents, offset, x.len, hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0) < 0)
			return -1;
		offset += x.len;
	}
	return 0;
}

static struct nbdkit_plugin inetboot = {
	.name = "inetboot",
	.longname = "images of InetBoot",
	.version = INETBOOT_VERSION,
	.description = "the disk of an image in a store on any web server",
	.config_help = parameters_help,
	.magic_config_key = "link",
	.load = load,
	.config = config,
	.config_complete = config_complete,
	.dump_plugin = dump_plugin,
	.after_fork = after_fork,
	.cleanup = cleanup,
	.list_exports = list_exports,
	.default_export = default_export,
	.open = open_disk,
	.export_description = export_description,
	.get_size = get_size,
	.block_size = block_size,
	.can_multi_conn = can_multi_conn,
	.can_cache = can_cache,
	.pread = pread_disk,
	.extents = extents,
	.cache = cache,
};

NBDKIT_REGISTER_PLUGIN(inetboot)
