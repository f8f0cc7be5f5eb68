/* Boot entries' files: see boot_files.h. */
#include "disk/boot_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "disk/link_at.h"

#define NAME_MAX_LEN 32

/* Is it one of the words that commas separate? */
static bool among(const char *word, const char *list)
{
	size_t len = strlen(word);

	for (const char *at = list; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, word, len) && (!at[len] || at[len] == ','))
			return true;
	}
	return false;
}

const struct boot_entry *boot_entry_find(const struct manifest *m, const char *wanted, const char *type, struct err *e)
{
	_cleanup_buf_ struct buf there = BUF_INIT(1 << 16);
	uint64_t number = 0;

	if (wanted && text_to_u64(wanted, &number) < 0)
		number = 0;
	for (size_t i = 0; i < m->boot_count; i++) {
		const struct boot_entry *b = &m->boot[i];

		buf_printf(&there, "%s%zu '%s' (%s)", i ? ", " : "", i + 1, b->title, b->type);
		if (type && !among(b->type, type))
			continue;
		if (!wanted || number == i + 1 || !strcmp(b->title, wanted))
			return b;
	}
	err_set(e, -ENOENT, "it has no boot entry%s%s%s%s; %s%s", wanted ? " " : "", wanted ? wanted : "", type ? " of type " : "", type ? type : "",
		there.len ? "there are: " : "`inetboot publish` takes them as --kernel and --initrd, `inetboot make` adds one",
		there.len ? (const char *)there.data : "");
	return NULL;
}

static int write_line(int folder, const char *name, const char *text, struct err *e)
{
	_cleanup_buf_ struct buf line = BUF_INIT(MANIFEST_TEXT_MAX + LINK_LEN_MAX + 1);

	if (buf_printf(&line, "%s\n", text) < 0)
		return err_set(e, -ENOMEM, "no memory for the file %s", name);
	return file_save(folder, name, line.data, line.len, 0, e);
}

/* A file of a name that is not there yet, so that none is ever taken for whole that is not. */
static int write_tree(struct image *image, const struct tree *tree, int folder, const char *name, struct err *e)
{
	char temporary[NAME_MAX_LEN + 8], what[NAME_MAX_LEN + 16];
	int fd, r;

	snprintf(temporary, sizeof(temporary), "%s.part", name);
	snprintf(what, sizeof(what), "fetching %s", name);
	if (unlinkat(folder, name, 0) < 0 && errno != ENOENT)
		return err_errno(e, "cannot replace %s", name);
	if (!tree->size)
		return 0;
	fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(e, "cannot write %s", name);
	r = image_extract(image, tree, fd, what, e);
	if (close(fd) < 0 && !r)
		r = err_errno(e, "cannot write %s", name);
	if (!r && renameat(folder, temporary, folder, name) < 0)
		r = err_errno(e, "cannot write %s", name);
	if (r < 0)
		unlinkat(folder, temporary, 0);
	return r < 0 ? err_add(e, "the image's %s", name) : 0;
}

static int write_modules(struct image *image, const struct boot_entry *b, int folder, struct err *e)
{
	static const struct tree none = {0};
	char name[NAME_MAX_LEN];
	int r = 0;

	for (size_t i = 0; i < MANIFEST_MODULES_MAX && !r; i++) {
		snprintf(name, sizeof(name), "module.%zu", i + 1);
		r = write_tree(image, i < b->module_count ? &b->modules[i] : &none, folder, name, e);
	}
	return r;
}

int boot_files_write(struct image *image, const char *link, const struct boot_entry *b, int folder, struct err *e)
{
	_cleanup_free_ char *exact = link_at(link, image->in_store, image->manifest.version, e);
	int r = exact ? 0 : -EINVAL;

	if (!r)
		r = write_tree(image, &b->kernel, folder, "kernel", e);
	if (!r)
		r = write_tree(image, &b->initrd, folder, "initrd", e);
	if (!r)
		r = write_modules(image, b, folder, e);
	if (!r)
		r = write_line(folder, "type", b->type, e);
	if (!r)
		r = write_line(folder, "title", b->title, e);
	if (!r)
		r = write_line(folder, "cmdline", b->cmdline ? b->cmdline : "", e);
	return r < 0 ? r : write_line(folder, "link", exact, e);
}
