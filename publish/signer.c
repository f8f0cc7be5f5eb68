/* Signing for a store: see signer.h. */
#include "publish/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "format/layout.h"

int signer_load(struct signer *s, const char *file, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(4096);
	int r = file_load(AT_FDCWD, file, &text, e);

	s->file = file;
	if (!r)
		r = secret_key_file_parse(&s->secret, (const char *)text.data, text.len, e);
	if (text.data)
		explicit_bzero(text.data, text.len);
	if (r == -ENOENT)
		return err_add(e, "no key (`inetboot key %s` makes one)", file);
	if (r < 0)
		return err_add(e, "key %s", file);
	key_public_of(&s->secret, &s->public);
	return 0;
}

void signer_wipe(struct signer *s)
{
	explicit_bzero(&s->secret, sizeof(s->secret));
}

void signer_comment(char out[SIGNER_COMMENT_MAX], const char *name, uint64_t version)
{
	snprintf(out, SIGNER_COMMENT_MAX, "inetboot manifest of %s version %llu", name, (unsigned long long)version);
}

int signer_save(const struct signer *s, struct store *store, const char *path, const char *comment, const void *message, size_t len,
	unsigned flags, struct err *e)
{
	_cleanup_buf_ struct buf file = BUF_INIT(MANIFEST_MAX);
	int r = path ? signature_sign(&s->secret, comment, message, len, &file, e) : err_set(e, -ENOMEM, "no memory for a path");

	return r < 0 ? r : file_save(store->fd, path, file.data, file.len, FILE_SYNC | flags, e);
}

int signer_save_public(const struct signer *s, struct store *store, const char *name, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT(4096);
	_cleanup_free_ char *path = layout_public_key(name);
	char comment[LINK_NAME_MAX + 64];

	snprintf(comment, sizeof(comment), "inetboot key of %s", name);
	if (!path || public_key_file(&s->public, comment, &text) < 0)
		return err_set(e, -ENOMEM, "no memory for the public key");
	return file_save(store->fd, path, text.data, text.len, FILE_SYNC, e);
}
