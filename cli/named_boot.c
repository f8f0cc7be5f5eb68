/* Named machines that are booted: see named_boot.h. */
#include "cli/named_boot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/link_version.h"
#include "disk/link_at.h"
#include "machine/control.h"
#include "publish/tool.h"

#define WRITES_SIZE (16ULL << 30) /* bytes, of a sparse file */

/* What a machine starts with: the newest version of its image, or the one that the link says. */
static int settle(struct named_boot *nb, const struct named_settings *wanted, const struct image_options *o, struct err *e)
{
	struct named_settings *s = &nb->settings;
	struct link_version at;

	if (!wanted->link)
		return err_set(e, -ENOENT, "there is no machine of that name yet: say what it boots, `inetboot boot LINK --name NAME`");
	if (link_version(wanted->link, o, &at, e) < 0)
		return -EIO;
	s->version = at.version;
	strcpy(s->root, at.root);
	s->link = link_at(wanted->link, at.version, 0, e);
	return s->link ? 0 : -EINVAL;
}

/* The version that a link says; 0: none. */
static uint64_t version_said(const char *link)
{
	_cleanup_(link_free) struct link l = {0};

	return link_parse(&l, link, NULL) < 0 ? 0 : l.version;
}

/* Is it the machine that the command line means? */
static int compare(const struct named_settings *s, const char *name, const struct named_settings *wanted, struct err *e)
{
	_cleanup_free_ char *link = wanted->link ? link_at(wanted->link, s->version, 0, e) : NULL;
	uint64_t said = link && s->version ? version_said(wanted->link) : 0;

	if (wanted->link && !link)
		return -EINVAL;
	if (link && strcmp(link, s->link))
		return err_set(e, -EEXIST, "the machine %s boots %s: choose another --name, or remove it with `inetboot rm %s`", name, s->link, name);
	if (said && said != s->version)
		return err_set(e, -EEXIST, "the machine %s is on version %" PRIu64 ": `inetboot rebase %s --to %" PRIu64 "` takes it to another", name,
			s->version, name, said);
	if (wanted->writes && wanted->writes != s->writes)
		return err_set(e, -EEXIST, "the machine %s was made with --writes %s: choose another --name, or remove it with `inetboot rm %s`", name,
			writes_word(s->writes), name);
	if (wanted->engine && strcmp(wanted->engine, s->engine ? s->engine : "uml"))
		return err_set(e, -EEXIST, "the machine %s was made with --engine %s: choose another --name, or remove it with `inetboot rm %s`", name,
			s->engine ? s->engine : "uml", name);
	return 0;
}

static int keep_text(char **kept, const char *wanted)
{
	char *text = wanted ? strdup(wanted) : NULL;

	if (!wanted)
		return 0;
	free(*kept);
	*kept = text;
	return text ? 0 : -ENOMEM;
}

static int take_wanted(struct named_settings *s, const struct named_settings *wanted, struct err *e)
{
	if (!s->writes)
		s->writes = wanted->writes ? wanted->writes : WRITES_FILES;
	if (wanted->memory)
		s->memory = wanted->memory;
	s->trusted |= wanted->trusted;
	if (keep_text(&s->network, wanted->network) < 0 || keep_text(&s->append, wanted->append) < 0 || keep_text(&s->engine, wanted->engine) < 0)
		return err_set(e, -ENOMEM, "no memory");
	return 0;
}

/* An ext4 file system in a sparse file; its inode tables are the holes that discarding leaves, so that the guest need not zero them. Made beside and renamed: one that is there is whole. */
static int make_writes(const char *path, struct err *e)
{
	_cleanup_free_ char *made = file_path("%s.new", path);
	_cleanup_close_ int fd = made ? open(made, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	struct tool mke2fs = {.package = "e2fsprogs",
		.argv = {"mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-J", "size=32", "-L", "writes", "-E",
			"lazy_itable_init=0,lazy_journal_init=1,discard", made}};

	if (fd < 0 || ftruncate(fd, (off_t)WRITES_SIZE) < 0)
		return err_errno(e, "cannot make the file for what the machine writes, %s", path);
	if (tool_run(&mke2fs, e) < 0)
		return e ? e->code : -EIO;
	if (fsync(fd) < 0 || rename(made, path) < 0)
		return err_errno(e, "cannot make the file for what the machine writes, %s", path);
	return 0;
}

int named_boot_open(struct named_boot *nb, const char *name, const struct named_settings *wanted, const struct image_options *o,
	struct err *e)
{
	struct named_settings *s = &nb->settings;
	int r = named_open(&nb->named, name, true, e);

	if (r < 0)
		return r;
	r = named_load(nb->named.dir, s, e);
	if (r == -ENOENT) {
		named_settings_free(s);
		*e = (struct err)ERR_INIT;
		r = settle(nb, wanted, o, e);
	} else if (!r) {
		r = compare(s, name, wanted, e);
	}
	if (!r)
		r = take_wanted(s, wanted, e);
	named_mac(name, nb->mac);
	return r;
}

int named_boot_keep(struct named_boot *nb, struct err *e)
{
	const struct named_settings *s = &nb->settings;
	const char *dir = nb->named.dir;

	if (named_save(&nb->named, s, e) < 0)
		return -EIO;
	nb->log = file_path("%s/console.log", dir);
	nb->link = s->version ? link_at(s->link, true, s->version, e) : strdup(s->link);
	if (s->writes == WRITES_BLOCKS)
		nb->overlay = file_path("%s/overlay", dir);
	if (s->writes == WRITES_FILES)
		nb->writes = file_path("%s/writes", dir);
	if (!nb->log || !nb->link || (s->writes == WRITES_BLOCKS && !nb->overlay) || (s->writes == WRITES_FILES && !nb->writes))
		return e && e->code ? e->code : err_set(e, -ENOMEM, "no memory");
	if (nb->writes && access(nb->writes, F_OK) < 0 && make_writes(nb->writes, e) < 0)
		return -EIO;
	nb->control = control_listen(dir, e);
	return nb->control < 0 ? nb->control : 0;
}

void named_boot_close(struct named_boot *nb)
{
	_cleanup_free_ char *control = nb->named.dir ? file_path("%s/control", nb->named.dir) : NULL;

	if (nb->control >= 0) {
		close(nb->control);
		if (control)
			unlink(control);
	}
	named_close(&nb->named);
	named_settings_free(&nb->settings);
	free(nb->link);
	free(nb->overlay);
	free(nb->writes);
	free(nb->log);
	*nb = (struct named_boot)NAMED_BOOT_INIT;
}
