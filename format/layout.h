/* What the files of an image are called in a store: see docs/format.md, "Layout". The paths are relative to the store, allocated, NULL
 * without memory. Pure: no I/O. Any thread. */
#ifndef FORMAT_LAYOUT_H
#define FORMAT_LAYOUT_H

#include <stdint.h>

#include "format/signature.h"

/* NAME/manifest; NAME/manifest.N where version is not 0. */
char *layout_manifest(const char *name, uint64_t version);

/* NAME/manifest.N.KEYNUMBER: version N, signed again by a later key of this number. */
char *layout_resigned(const char *name, uint64_t version, const uint8_t number[KEY_NUMBER_LEN]);

/* NAME/next.KEYNUMBER: the last word of the key of this number. */
char *layout_next(const char *name, const uint8_t number[KEY_NUMBER_LEN]);

/* NAME/key.pub */
char *layout_public_key(const char *name);

#endif
