/* Languages: see language.h. */
#include "cli/language.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static const struct {
	const char *codes; /* separated by blanks */
	const char *locale, *keyboard;
} languages[] = {
	{"be", "nl_BE", "be"},
	{"bg", "bg_BG", "bg"},
	{"br", "pt_BR", "br"},
	{"ch", "de_CH", "ch"},
	{"cn", "zh_CN", "us"},
	{"cs cz", "cs_CZ", "cz"},
	{"da dk", "da_DK", "dk"},
	{"de", "de_DE", "de"},
	{"en us", "en_US", "us"},
	{"es", "es_ES", "es"},
	{"fi", "fi_FI", "fi"},
	{"fr", "fr_FR", "fr"},
	{"gr", "el_GR", "gr"},
	{"he il", "he_IL", "il"},
	{"hu", "hu_HU", "hu"},
	{"it", "it_IT", "it"},
	{"ja jp", "ja_JP", "jp"},
	{"ko kr", "ko_KR", "kr"},
	{"nl", "nl_NL", "us"},
	{"no", "nb_NO", "no"},
	{"pl", "pl_PL", "pl"},
	{"pt", "pt_PT", "pt"},
	{"ru", "ru_RU", "ru"},
	{"sk", "sk_SK", "sk"},
	{"sv se", "sv_SE", "se"},
	{"tr", "tr_TR", "tr"},
	{"tw", "zh_TW", "us"},
	{"ua", "uk_UA", "ua"},
	{"uk gb", "en_GB", "gb"},
};

static const char *keyboard_of(const char *locale)
{
	for (size_t i = 0; i < sizeof(languages) / sizeof(languages[0]); i++)
		if (!strcmp(languages[i].locale, locale))
			return languages[i].keyboard;
	return NULL;
}

/* Two or three small letters, '_', two capitals, and perhaps ".UTF-8". */
static int parse_locale(const char *text, struct language *out)
{
	size_t letters = strspn(text, "abcdefghijklmnopqrstuvwxyz");
	const char *country = text + letters + 1;
	const char *known;
	char name[8];

	if (letters < 2 || letters > 3 || text[letters] != '_' ||
		!isupper((unsigned char)country[0]) || !isupper((unsigned char)country[1]) ||
		(country[2] && strcasecmp(country + 2, ".utf-8") &&
			strcasecmp(country + 2, ".utf8")))
		return -EINVAL;
	snprintf(name, sizeof(name), "%.*s", (int)letters + 3, text);
	known = keyboard_of(name);
	if (known)
		snprintf(out->keyboard, sizeof(out->keyboard), "%s", known);
	else
		snprintf(out->keyboard, sizeof(out->keyboard), "%c%c", tolower(country[0]),
			tolower(country[1]));
	snprintf(out->locale, sizeof(out->locale), "%s.UTF-8", name);
	return 0;
}

int language_find(const char *text, struct language *out)
{
	size_t len = strlen(text);

	for (size_t i = 0; len == 2 && i < sizeof(languages) / sizeof(languages[0]); i++)
		if (text_starts(languages[i].codes, text) || text_ends(languages[i].codes, text))
			return parse_locale(languages[i].locale, out);
	return parse_locale(text, out);
}
