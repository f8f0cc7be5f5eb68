/* Running a recipe: see recipe.h. Its steps are called one by one, so that a person can be told
 * what takes long. */
#include "cli/recipe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "machine/resources.h"
#include "publish/ext4_times.h"

#define MIB (1ULL << 20)
#define KERNEL_BYTES                                                                               \
	(600 * MIB) /* modules and firmware; the initrd, and a second time while it is made */

enum { KIND, RELEASE, MIRROR, PACKAGES, USER, LOCALE, KEYBOARD, KERNEL, SIZE, WORDS };

/* What the recipe is told of the image. */
static int describe(const struct recipe *r, char *words[WORDS])
{
	words[KIND] = file_path("kind=%s", r->kind);
	words[RELEASE] = file_path("release=%s", r->release);
	words[MIRROR] = file_path("mirror=%s", r->mirror ? r->mirror : "");
	words[PACKAGES] = file_path("packages=%s", r->packages ? r->packages : "");
	words[USER] = file_path("user=%s", r->user);
	words[LOCALE] = file_path("locale=%s", r->language.locale);
	words[KEYBOARD] = file_path("keyboard=%s", r->language.keyboard);
	words[KERNEL] = file_path("kernel=%s", r->kernel ? "yes" : "no");
	words[SIZE] = file_path("size=%" PRIu64, r->size);
	for (size_t i = 0; i < WORDS; i++)
		if (!words[i])
			return -ENOMEM;
	return 0;
}

static void free_words(char *(*words)[WORDS])
{
	for (size_t i = 0; i < WORDS; i++)
		free((*words)[i]);
}

uint64_t recipe_needs(const struct recipe *r)
{
	uint64_t bytes = !strcmp(r->kind, "desktop")  ? 1200 * MIB
			 : !strcmp(r->kind, "server") ? 400 * MIB
						      : 300 * MIB;

	return bytes + (r->kernel ? KERNEL_BYTES : 0);
}

void recipe_uuid(const struct recipe *r, char out[HASH_UUID_MAX])
{
	_cleanup_(free_words) char *words[WORDS] = {NULL};
	_cleanup_buf_ struct buf all = BUF_INIT(65536);
	struct hash h;

	if (!describe(r, words))
		for (size_t i = 0; i < WORDS; i++)
			buf_printf(&all, "%s\n", words[i]);
	hash_of(&h, all.data ? (const char *)all.data : "", all.len);
	hash_uuid(&h, out);
}

static int step(const char *name, const struct tool *words, struct err *e)
{
	struct tool t = *words;

	t.argv[2] = name;
	return tool_run(&t, e);
}

static int run_steps(const struct recipe *r, const struct tool *t, const char *path,
	const char *debs, struct err *e)
{
	int result = step("needs", t, e);

	if (!result)
		result = step("date", t, e);
	if (!result) {
		log_info("installing the packages of a Debian %s%s%s%s: a minute or two, the first "
			 "time more; they are kept in %s",
			r->release, strcmp(r->kind, "debian") ? " " : "",
			strcmp(r->kind, "debian") ? r->kind : "",
			r->kernel ? " and its kernel" : "", debs);
		result = step("packages", t, e);
	}
	if (!result) {
		log_info("making an ext4 file system");
		result = step("image", t, e);
	}
	return result < 0 ? result : ext4_times_settle(path, e);
}

int recipe_run(const struct recipe *r, const struct workspace *w, int image, struct err *e)
{
	_cleanup_(free_words) char *words[WORDS] = {NULL};
	char uuid[HASH_UUID_MAX];
	_cleanup_free_ char *script = resource_path("debian-image", e);
	_cleanup_free_ char *cache = script ? file_xdg_dir("XDG_CACHE_HOME", ".cache", e) : NULL;
	_cleanup_free_ char *debs = cache ? file_path("debs=%s/images/debs", cache) : NULL;
	_cleanup_free_ char *work = file_path("work=%s", w->path);
	_cleanup_free_ char *out = file_path("image=/proc/self/fd/%d", image);
	_cleanup_free_ char *which = NULL;
	struct tool t = {.package = "dash", .argv = {"sh", script, ""}};

	if (!script || !cache)
		return -ENOENT;
	recipe_uuid(r, uuid);
	which = file_path("uuid=%s", uuid);
	if (!debs || !work || !out || !which || describe(r, words) < 0)
		return err_set(e, -ENOMEM, "no memory to make an image");
	/* They become part of a shell's words within words. */
	if (strpbrk(debs, "'\"\\$`\n") || strpbrk(work, "'\"\\$` \n") ||
		strpbrk(script, "'\"\\$`\n"))
		return err_set(e, -EINVAL,
			"quotes and the like in the names of folders are more than mmdebstrap "
			"takes: %s, %s, %s",
			debs + strlen("debs="), w->path, script);
	for (size_t i = 0; i < WORDS; i++)
		tool_args(&t, (const char *[]){words[i], NULL});
	tool_args(&t, (const char *[]){which, work, debs, out, NULL});
	return run_steps(r, &t, out + strlen("image="), debs + strlen("debs="), e);
}
