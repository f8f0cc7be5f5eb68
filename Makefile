# The entry points, by name; meson does the work.
BUILD ?= build
DEPS := tools/install-deps

.PHONY: all demo demo-desktop medium-parts check check-media uml-kernel install clean

all:
	@$(DEPS) build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) >$(BUILD).log || { cat $(BUILD).log; exit 1; }
	@ninja -C $(BUILD) -n | grep -q 'no work to do' || ninja -C $(BUILD) --quiet

demo: # a Debian image: made, published, served, booted over HTTP
	@$(DEPS) build demo
	@$(MAKE) --no-print-directory all
	@tools/demo $(BUILD)

demo-desktop: # two XFCE desktops in windows of this one: made, published, booted
	@$(DEPS) build make demo demo-desktop
	@$(MAKE) --no-print-directory all
	@tools/demo-desktop $(BUILD)

check: # all tests
	@tools/check

check-media: medium-parts # boot media from power-on, in QEMU machines: an hour and more
	@$(DEPS) make test medium medium-test
	@tests/boot/check-media $(BUILD)

medium-parts: # the small programs of boot media: built for musl from Debian's sources, which are kept in ~/.cache/inetboot
	@$(DEPS) build medium-parts medium
	@$(MAKE) --no-print-directory all
	@tools/medium-parts $(BUILD)

uml-kernel: # a faster User-Mode Linux kernel, kept in ~/.cache/inetboot/uml
	@$(DEPS) uml-kernel
	@tools/uml-kernel

install: all
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD).log build-asan build-tsan
