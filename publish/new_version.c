/* A new version: see new_version.h. */
#include "publish/new_version.h"

#include <errno.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "format/layout.h"
#include "publish/key_files.h"

int version_begin(struct store *s, struct block_writer *w, const char *name, struct manifest *m,
	struct versions *v, struct err *e)
{
	_cleanup_close_ int lock = -1;
	struct block_stats stats;
	int r = store_sync(s, e);

	if (r < 0)
		return r;
	block_writer_stats(w, &stats);
	m->stored = stats.bytes;
	manifest_time_text(m->created, time(NULL));
	lock = store_lock_name(s, name, e);
	if (lock < 0)
		return lock;
	r = store_versions(s, name, NULL, NULL, v, e);
	return r < 0 ? r : steal_fd(&lock);
}

int version_check_signer(struct store *s, const struct versions *v, const struct signer *signer,
	const char *name, bool replace, struct err *e)
{
	const struct version *newest = versions_newest(v), *current = versions_current(v);
	int r = key_files_check_signer(s, name, signer, e);

	if (r < 0 || !newest)
		return r;
	r = store_signed_by(s, current ? current->file : newest->file, &signer->public, e);
	if (r >= 0 && newest->manifest.revoked && (r || !replace))
		return err_set(e, -EKEYREVOKED,
			"%s was revoked: its readers refuse all that this link names. Publish "
			"under another name%s",
			name, r ? "" : ", or say --replace-key");
	if (r || replace)
		return r < 0 ? r : 0;
	return err_set(e, -EKEYREJECTED,
		"another key than %s signed %s version %llu: links to it would stop working. "
		"Publish under another name, or say --replace-key; if "
		"it was you who signed it, `inetboot key --rotate` lets the links go on",
		signer->file, name, (unsigned long long)newest->manifest.version);
}

int version_save(
	struct store *s, const struct signer *signer, const struct manifest *m, struct err *e)
{
	_cleanup_buf_ struct buf message = BUF_INIT(MANIFEST_MAX);
	_cleanup_free_ char *numbered = layout_manifest(m->name, m->version),
			    *plain = layout_manifest(m->name, 0);
	char comment[SIGNER_COMMENT_MAX];
	int r = manifest_encode(m, &message, e);

	signer_comment(comment, m->name, m->version);
	if (!r)
		r = signer_save(
			signer, s, numbered, comment, message.data, message.len, FILE_EXCLUSIVE, e);
	if (!r)
		r = signer_save_public(signer, s, m->name, e);
	return r < 0 ? r : signer_save(signer, s, plain, comment, message.data, message.len, 0, e);
}
