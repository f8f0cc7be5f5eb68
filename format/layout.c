/* Names of an image's files: see layout.h. */
#include "format/layout.h"

#include <inttypes.h>

#include "base/file.h"
#include "base/text.h"

#define NUMBER_HEX_MAX (2 * KEY_NUMBER_LEN + 1)

char *layout_manifest(const char *name, uint64_t version)
{
	return version ? file_path("%s/manifest.%" PRIu64, name, version) : file_path("%s/manifest", name);
}

char *layout_resigned(const char *name, uint64_t version, const uint8_t number[KEY_NUMBER_LEN])
{
	char hex[NUMBER_HEX_MAX];

	hex_encode(hex, number, KEY_NUMBER_LEN);
	return file_path("%s/manifest.%" PRIu64 ".%s", name, version, hex);
}

char *layout_next(const char *name, const uint8_t number[KEY_NUMBER_LEN])
{
	char hex[NUMBER_HEX_MAX];

	hex_encode(hex, number, KEY_NUMBER_LEN);
	return file_path("%s/next.%s", name, hex);
}

char *layout_public_key(const char *name)
{
	return file_path("%s/key.pub", name);
}
