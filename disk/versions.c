/* The memory of versions: see versions.h. A file holds a decimal number and a newline; a file that does not is ignored. */
#include "disk/versions.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/text.h"

static char *versions_dir(struct err *e)
{
	_cleanup_free_ char *state = file_xdg_dir("XDG_STATE_HOME", ".local/state", e);

	return state ? file_path("%s/versions", state) : NULL;
}

/* The name of an image's file: the key as hexadecimal (base64 has slashes), and the image's name. */
static char *version_path(const char *dir, const struct public_key *key, const char *name)
{
	char hex[HASH_HEX_MAX];

	hex_encode(hex, key->key, sizeof(key->key));
	return file_path("%s/%.32s-%s", dir, hex, name);
}

uint64_t versions_seen(const struct public_key *key, const char *name)
{
	_cleanup_buf_ struct buf text = BUF_INIT(32);
	_cleanup_free_ char *dir = versions_dir(NULL);
	_cleanup_free_ char *path = dir ? version_path(dir, key, name) : NULL;
	uint64_t version;

	if (!path || file_load(AT_FDCWD, path, &text, NULL) < 0 || !text.len || text.data[text.len - 1] != '\n')
		return 0;
	text.data[text.len - 1] = 0;
	return text_to_u64((char *)text.data, &version) < 0 ? 0 : version;
}

void versions_remember(const struct public_key *key, const char *name, uint64_t version)
{
	struct err e = ERR_INIT;
	_cleanup_free_ char *dir = versions_dir(&e);
	_cleanup_free_ char *path = dir ? version_path(dir, key, name) : NULL;
	char text[32];

	if (path && version <= versions_seen(key, name))
		return;
	snprintf(text, sizeof(text), "%" PRIu64 "\n", version);
	if (!path || file_mkdirs(dir, &e) < 0 || file_save(AT_FDCWD, path, text, strlen(text), 0, &e) < 0)
		log_warning("cannot remember that version %" PRIu64 " of %s was seen, so an older one would go unnoticed: %s",
			version, name, e.text);
}
