/* Named machines: see named.h. */
#include "machine/named.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "network/names.h"

#define SETTINGS_MAX (64u << 10) /* bytes of machine.json */
#define OPEN_TRIES 10		 /* each time somebody else removed it meanwhile */

static const char *const words[] = {[WRITES_UNSET] = "", [WRITES_NONE] = "none", [WRITES_FILES] = "files", [WRITES_BLOCKS] = "blocks"};

enum writes writes_of(const char *word)
{
	for (enum writes w = WRITES_NONE; w <= WRITES_BLOCKS; w++)
		if (!strcmp(word, words[w]))
			return w;
	return WRITES_UNSET;
}

const char *writes_word(enum writes w)
{
	return words[w];
}

static char *machines_dir(struct err *e)
{
	_cleanup_free_ char *state = file_xdg_dir("XDG_STATE_HOME", ".local/state", e);
	char *dir = state ? file_path("%s/machines", state) : NULL;

	if (state && !dir)
		err_set(e, -ENOMEM, "no memory");
	return dir;
}

char *named_dir(const char *name, struct err *e)
{
	_cleanup_free_ char *machines = machines_dir(e);

	if (!machines)
		return NULL;
	if (!name_valid(name)) {
		err_set(e, -EINVAL, "'%s' is no machine's name: small letters, digits and '-', at most %d", name, NAME_MAX_LEN);
		return NULL;
	}
	return file_path("%s/%s", machines, name);
}

/* Who has it locked; 0: nobody. */
static pid_t holder(int lock)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(lock, F_GETLK, &l) < 0 || l.l_type == F_UNLCK ? 0 : l.l_pid;
}

pid_t named_pid(const char *dir)
{
	_cleanup_free_ char *path = file_path("%s/lock", dir);
	_cleanup_close_ int lock = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;

	return lock < 0 ? 0 : holder(lock);
}

int named_find(const char *name, pid_t *pid, struct err *e)
{
	_cleanup_free_ char *dir = named_dir(name, e);
	struct stat st;

	if (!dir)
		return -EINVAL;
	if (stat(dir, &st) < 0)
		return err_set(e, -ENOENT, "there is no machine %s: `inetboot ps` lists them", name);
	*pid = named_pid(dir);
	return 0;
}

/* -EAGAIN: it went while we took it. */
static int take_lock(struct named *n, const char *name, bool make, struct err *e)
{
	_cleanup_free_ char *path = file_path("%s/lock", n->dir);
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct stat ours, there;

	if (!path)
		return err_set(e, -ENOMEM, "no memory");
	if (make && !mkdir(n->dir, 0700))
		n->made = true;
	else if (make && errno != EEXIST)
		return err_errno(e, "cannot make the machine's folder %s", n->dir);
	n->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (n->lock < 0 && errno == ENOENT)
		return make ? -EAGAIN : err_set(e, -ENOENT, "there is no machine %s: `inetboot ps` lists them", name);
	if (n->lock < 0)
		return err_errno(e, "cannot open %s", path);
	if (fcntl(n->lock, F_SETLK, &l) < 0) {
		if (errno != EAGAIN && errno != EACCES)
			return err_errno(e, "cannot lock %s", path);
		n->made = false;
		return err_set(e, -EBUSY,
			"the machine %s runs, or is being changed (process %ld): `inetboot console %s` shows its console, `inetboot stop %s` "
			"shuts it down",
			name, (long)holder(n->lock), name, name);
	}
	return !fstat(n->lock, &ours) && !stat(path, &there) && ours.st_ino == there.st_ino ? 0 : -EAGAIN;
}

int named_open(struct named *n, const char *name, bool make, struct err *e)
{
	_cleanup_free_ char *machines = make ? machines_dir(e) : NULL;
	int r = -EAGAIN;

	*n = (struct named)NAMED_INIT;
	n->dir = named_dir(name, e);
	if (!n->dir || (make && (!machines || file_mkdirs(machines, e) < 0))) {
		named_close(n);
		return -EINVAL;
	}
	for (int i = 0; r == -EAGAIN && i < OPEN_TRIES; i++) {
		if (n->lock >= 0)
			close(steal_fd(&n->lock));
		r = take_lock(n, name, make, e);
	}
	if (r < 0)
		named_close(n);
	return r == -EAGAIN ? err_set(e, r, "somebody removes the machine %s again and again", name) : r;
}

static void remove_files(const struct named *n)
{
	/* The lock last: until then nobody else makes one of that name. */
	static const char *const files[] = {"control", "overlay", "writes", "writes.new", "console.log", "machine.json", "lock"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		_cleanup_free_ char *path = file_path("%s/%s", n->dir, files[i]);

		if (path)
			unlink(path);
	}
}

static bool has_settings(const struct named *n)
{
	_cleanup_free_ char *path = file_path("%s/machine.json", n->dir);

	return !path || !access(path, F_OK);
}

void named_close(struct named *n)
{
	if (n->lock >= 0 && n->made && !has_settings(n)) {
		remove_files(n);
		rmdir(n->dir);
	}
	if (n->lock >= 0)
		close(n->lock);
	free(n->dir);
	*n = (struct named)NAMED_INIT;
}

int named_remove(struct named *n, struct err *e)
{
	int r = 0;

	remove_files(n);
	if (rmdir(n->dir) < 0)
		r = err_errno(e, "what the machine kept is removed, but not its folder %s", n->dir);
	named_close(n);
	return r;
}

static int copy(char **out, const json_t *about, const char *key)
{
	const char *text = json_string_value(json_object_get(about, key));

	*out = text ? strdup(text) : NULL;
	return text && !*out ? -ENOMEM : 0;
}

int named_load(const char *dir, struct named_settings *s, struct err *e)
{
	_cleanup_free_ char *path = file_path("%s/machine.json", dir);
	_cleanup_buf_ struct buf text = BUF_INIT(SETTINGS_MAX);
	const char *root, *how;
	json_t *about;
	int r;

	*s = (struct named_settings){0};
	r = path ? file_load_plain(AT_FDCWD, path, &text, e) : -ENOMEM;
	if (r < 0)
		return r;
	about = json_loadb((char *)text.data, text.len, 0, NULL);
	root = json_string_value(json_object_get(about, "root"));
	how = json_string_value(json_object_get(about, "writes"));
	s->version = (uint64_t)json_integer_value(json_object_get(about, "version"));
	s->memory = (uint64_t)json_integer_value(json_object_get(about, "memory"));
	s->trusted = json_is_true(json_object_get(about, "trusted"));
	s->writes = how ? writes_of(how) : WRITES_UNSET;
	if (root && strlen(root) < sizeof(s->root))
		strcpy(s->root, root);
	if (copy(&s->link, about, "link") < 0 || copy(&s->network, about, "network") < 0 || copy(&s->append, about, "append") < 0 || copy(&s->engine, about, "engine") < 0)
		r = err_set(e, -ENOMEM, "no memory");
	else if (!s->link || s->writes == WRITES_UNSET)
		r = err_set(e, -EBADMSG, "%s is not what `inetboot boot --name` writes: put it right, or remove the machine with `inetboot rm`", path);
	json_decref(about);
	return r;
}

int named_save(const struct named *n, const struct named_settings *s, struct err *e)
{
	_cleanup_free_ char *path = file_path("%s/machine.json", n->dir), *text = NULL;
	json_t *about = json_pack("{s:s, s:I, s:s, s:s, s:s*, s:s*, s:s*, s:I, s:b}", "link", s->link, "version", (json_int_t)s->version, "root", s->root,
		"writes", writes_word(s->writes), "network", s->network, "append", s->append, "engine", s->engine, "memory", (json_int_t)s->memory, "trusted",
		s->trusted);

	text = about ? json_dumps(about, JSON_INDENT(2)) : NULL;
	json_decref(about);
	if (!path || !text)
		return err_set(e, -ENOMEM, "no memory");
	return file_save(AT_FDCWD, path, text, strlen(text), FILE_SYNC | FILE_PRIVATE, e);
}

void named_settings_free(struct named_settings *s)
{
	free(s->link);
	free(s->network);
	free(s->append);
	free(s->engine);
	*s = (struct named_settings){0};
}

void named_mac(const char *name, char out[MAC_TEXT_MAX])
{
	_cleanup_free_ char *text = file_path("inetboot machine %s", name);
	struct hash h = {0};

	if (text)
		hash_of(&h, text, strlen(text));
	/* 02: for one station, and given out locally. */
	snprintf(out, MAC_TEXT_MAX, "02:%02x:%02x:%02x:%02x:%02x", h.bytes[0], h.bytes[1], h.bytes[2], h.bytes[3], h.bytes[4]);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int named_list(char ***names, struct err *e)
{
	_cleanup_free_ char *machines = machines_dir(e);
	_cleanup_closedir_ DIR *d = machines ? opendir(machines) : NULL;
	char **list = calloc(1, sizeof(*list));
	size_t n = 0;

	if (!machines || !list || (!d && errno != ENOENT)) {
		free(list);
		return machines ? err_errno(e, "cannot list %s", machines) : -EINVAL;
	}
	for (struct dirent *entry; d && (entry = readdir(d));) {
		struct stat st;
		char **more;

		if (!name_valid(entry->d_name) || fstatat(dirfd(d), entry->d_name, &st, 0) < 0 || !S_ISDIR(st.st_mode))
			continue;
		more = realloc(list, (n + 2) * sizeof(*list));
		if (!more)
			break;
		list = more;
		list[n] = strdup(entry->d_name);
		if (!list[n])
			break;
		list[++n] = NULL;
	}
	qsort(list, n, sizeof(*list), by_name);
	*names = list;
	return 0;
}
