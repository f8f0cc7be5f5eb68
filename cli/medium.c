/* inetboot medium: a boot medium, by medium/make-medium. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "cli/medium_options.h"

static const char help[] =
	"Usage: inetboot medium OUT --entry 'TITLE=LINK'... [OPTION]...\n\n"
	"Makes a boot medium: a small Linux that brings up the network, fetches the kernel and initrd of the chosen image, checks them\n"
	"against the link's key, and starts the image with the Internet virtual disk as its root. OUT is a file, or a folder for pxe and grub.\n\n" MEDIUM_ENTRIES_HELP
	"      --format FORM          iso: a CD that is also a USB stick, for BIOS and UEFI (default)\n"
	"                             usb: a disk image with a FAT32, for a stick that other files go on, too\n"
	"                             efi: one file for UEFI: an ESP, or HTTP boot\n"
	"                             pxe: kernel, initrd and a script for iPXE\n"
	"                             grub: kernel, initrd and a menu for a GRUB that is there\n" MEDIUM_OPTIONS_HELP "  -h, --help                 show this\n\n"
	"Works without privileges. The same options and packages give the same bytes.\n\n"
	"Examples:\n"
	"  inetboot medium inetboot.iso --entry 'Debian=http://192.0.2.1/store/debian#RWQ...'\n"
	"  inetboot medium /srv/tftp/inetboot --format pxe --entry 'Lab=http://192.0.2.1/store/lab#RWQ...' --options ip=dhcp\n";

enum { OPT_FORMAT = OPT_MEDIUM_OWN };

static const struct option options[] = {
	MEDIUM_LONG_OPTIONS,
	{"format", required_argument, NULL, OPT_FORMAT},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static int take_option(void *context, int code, char *value)
{
	static const char *const formats[] = {"iso", "usb", "efi", "pxe", "grub", NULL};
	const char *const *known = formats;

	while (*known && strcmp(*known, value))
		known++;
	((struct medium *)context)->format = value;
	return *known ? 0
		      : cli_usage("medium",
				"there is no format %s: it must be iso, usb, efi, pxe or grub",
				value);
}

static int report(const struct medium *m)
{
	char size[TEXT_SIZE_MAX];
	struct stat st;

	if (stat(m->out, &st) < 0 || S_ISDIR(st.st_mode)) {
		printf("%s: kernel, initrd and menu\n", m->out);
		return EXIT_OK;
	}
	text_size(size, (uint64_t)st.st_size);
	printf("%s: %s\n", m->out, size);
	return EXIT_OK;
}

static int run(struct medium *m)
{
	struct err e = ERR_INIT;

	if (medium_make(m, &e) < 0) {
		err_add(&e, "cannot make %s", m->out);
		return cli_fail(&e);
	}
	return report(m);
}

int cmd_medium(int argc, char **argv)
{
	struct medium m;
	int r = medium_take(&m, argc, argv, options, help, take_option, &m,
		"exactly one file or folder to write is needed");

	if (r < 0)
		r = run(&m);
	medium_free(&m);
	return r;
}
