/* URLs: see url.h. */
#include "fetch/url.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>

int url_port(const char *url)
{
	CURLU *u = curl_url();
	char *port = NULL;
	CURLUcode code = CURLUE_OUT_OF_MEMORY;
	int n = 0;

	if (u)
		code = curl_url_set(u, CURLUPART_URL, url, CURLU_GUESS_SCHEME);
	if (!code)
		code = curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
	if (!code)
		n = (int)strtol(port, NULL, 10); /* which libcurl has bounded */
	curl_free(port);
	curl_url_cleanup(u);
	return code == CURLUE_OUT_OF_MEMORY ? -ENOMEM : n;
}
