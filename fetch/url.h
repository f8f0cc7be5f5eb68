/* What is in a URL, by libcurl's parser, so that nobody understands it otherwise. Any thread. */
#ifndef FETCH_URL_H
#define FETCH_URL_H

/* The port that it leads to; a missing scheme is guessed as libcurl does. 0: it leads nowhere. -ENOMEM. */
int url_port(const char *url);

#endif
