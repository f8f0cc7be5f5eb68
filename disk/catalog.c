/* Reading a catalogue: see catalog.h. */
#include "disk/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "format/json_bounded.h"
#include "format/link.h"

static void drop_bad_images(json_t *images)
{
	for (size_t i = json_array_size(images); i-- > 0;) {
		const char *name = json_string_value(json_object_get(json_array_get(images, i), "name"));

		if (!name || !link_name_valid(name))
			json_array_remove(images, i);
	}
}

static int parse(json_t **out, const struct buf *text, struct err *e)
{
	json_t *top;

	if (json_bounded(&top, (const char *)text->data, text->len, CATALOG_VALUES_MAX, e) < 0) {
		err_add(e, "catalog.json");
		return -EBADMSG;
	}
	if (!json_is_array(json_object_get(top, "images"))) {
		json_decref(top);
		return err_set(e, -EBADMSG, "catalog.json has no list of images");
	}
	drop_bad_images(json_object_get(top, "images"));
	*out = top;
	return 0;
}

int catalog_load(json_t **out, const char *store, struct origin *origin, bool once, struct err *e)
{
	struct origin_request rq = {.path = "catalog.json", .max = CATALOG_MAX, .fresh = true, .timeout_ms = ORIGIN_FIRST_MS, .once = once};
	struct origin_answer answer = {.body = BUF_INIT(CATALOG_MAX)};
	_cleanup_free_ char *path = file_path("%s/catalog.json", store);
	int r = !path ? -ENOMEM : origin ? origin_get(origin, &rq, &answer, e) : file_load_plain(AT_FDCWD, path, &answer.body, e);

	if (r == -ENOENT)
		err_add(e, "it has no catalogue, so it is no store");
	if (!r)
		r = parse(out, &answer.body, e);
	buf_free(&answer.body);
	return r;
}

json_t *catalog_find(json_t *catalog, const char *name)
{
	json_t *image;
	size_t i;

	json_array_foreach(json_object_get(catalog, "images"), i, image)
		if (!strcmp(json_string_value(json_object_get(image, "name")), name))
			return image;
	return NULL;
}
