/* The memory of versions and keys: see versions.h. A file of versions holds a decimal number and a newline; one that does not is ignored. */
#include "disk/versions.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"

static char *memory_dir(const char *what, struct err *e)
{
	_cleanup_free_ char *state = file_xdg_dir("XDG_STATE_HOME", ".local/state", e);

	return state ? file_path("%s/%s", state, what) : NULL;
}

/* The name of an image's file: the key as hexadecimal (base64 has slashes), and the image's name. */
static char *memory_path(const char *dir, const struct public_key *key, const char *name)
{
	char hex[HASH_HEX_MAX];

	hex_encode(hex, key->key, sizeof(key->key));
	return file_path("%s/%.32s-%s", dir, hex, name);
}

static int load(const char *what, const struct public_key *key, const char *name, struct buf *out)
{
	_cleanup_free_ char *dir = memory_dir(what, NULL);
	_cleanup_free_ char *path = dir ? memory_path(dir, key, name) : NULL;

	return path ? file_load(AT_FDCWD, path, out, NULL) : -ENOENT;
}

static int save(const char *what, const struct public_key *key, const char *name, const void *data, size_t len, struct err *e)
{
	_cleanup_free_ char *dir = memory_dir(what, e);
	_cleanup_free_ char *path = dir ? memory_path(dir, key, name) : NULL;
	int r = path ? file_mkdirs(dir, e) : -ENOENT;

	return r < 0 ? r : file_save(AT_FDCWD, path, data, len, 0, e);
}

uint64_t versions_seen(const struct public_key *key, const char *name)
{
	_cleanup_buf_ struct buf text = BUF_INIT(32);
	uint64_t version;

	if (load("versions", key, name, &text) < 0 || !text.len || text.data[text.len - 1] != '\n')
		return 0;
	text.data[text.len - 1] = 0;
	return text_to_u64((char *)text.data, &version) < 0 ? 0 : version;
}

int versions_remember(const struct public_key *key, const char *name, uint64_t version, struct err *e)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", version);

	if (version <= versions_seen(key, name))
		return 0;
	if (save("versions", key, name, text, (size_t)len, e) < 0)
		return err_add(e, "cannot remember that version %" PRIu64 " of %s was seen, so an older one would go unnoticed", version,
			name);
	return 0;
}

int last_word_load(const struct public_key *key, const char *name, struct buf *out)
{
	return load("keys", key, name, out);
}

int last_word_remember(const struct public_key *key, const char *name, const void *text, size_t len, struct err *e)
{
	if (save("keys", key, name, text, len, e) < 0)
		return err_add(e, "cannot remember that the key of %s was replaced or revoked, so its use would go unnoticed", name);
	return 0;
}
