/* URLs: see url.h. */
#include "fetch/url.h"

#include <curl/curl.h>
#include <stdlib.h>

unsigned url_port(const char *url)
{
	CURLU *u = curl_url();
	char *port = NULL;
	unsigned n = 0;

	if (u && !curl_url_set(u, CURLUPART_URL, url, CURLU_GUESS_SCHEME) && !curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT))
		n = (unsigned)strtoul(port, NULL, 10);
	curl_free(port);
	curl_url_cleanup(u);
	return n;
}
