/* Files by their magic numbers: see foreign.h. */
#include "disk/foreign.h"

#include <errno.h>
#include <string.h>

#define HEAD 512 /* bytes, all magic numbers below are in there */

static const struct form {
	const char *name, *magic;
	size_t offset;
	enum { DISK, PACKED, TREE } kind;
} forms[] = {
	{"qcow2", "QFI\xfb", 0, DISK},
	{"vmdk", "KDMV", 0, DISK},
	{"vmdk", "# Disk DescriptorFile", 0, DISK},
	{"vhdx", "vhdxfile", 0, DISK},
	{"vdi", "\x7f\x10\xda\xbe", 64, DISK},
	{"gzip", "\x1f\x8b\x08", 0, PACKED},
	{"xz", "\xfd" "7zXZ", 0, PACKED},
	{"zstd", "\x28\xb5\x2f\xfd", 0, PACKED},
	{"bzip2", "BZh", 0, PACKED},
	{"zip", "PK\x03\x04", 0, PACKED},
	{"tar", "ustar", 257, TREE},
};

static const struct form *recognise(const uint8_t *head, size_t len)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		size_t magic_len = strlen(forms[i].magic);

		if (forms[i].offset + magic_len <= len && !memcmp(head + forms[i].offset, forms[i].magic, magic_len))
			return &forms[i];
	}
	return NULL;
}

int foreign_refuse(struct source *file, struct err *e)
{
	static const char *const what_to_do[] = {
		[DISK] = "put it into a store with `inetboot publish`, or convert it: qemu-img convert -O raw FILE disk.img",
		[PACKED] = "unpack it first",
		[TREE] = "put it into a store with `inetboot publish`, which makes a disk of it",
	};
	uint8_t head[HEAD];
	size_t len = file->size < HEAD ? (size_t)file->size : HEAD;
	int r = source_read(file, head, len, 0, e);
	const struct form *form;

	if (r < 0)
		return r;
	form = recognise(head, len);
	return form ? err_set(e, -EMEDIUMTYPE, "this is a %s file, not a disk image that is raw or cloop: %s", form->name,
			      what_to_do[form->kind])
		    : 0;
}
