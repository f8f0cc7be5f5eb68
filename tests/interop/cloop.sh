#!/bin/sh
# cloop files that create_compressed_fs makes read as qemu-img reads them.
. "$(dirname "$0")/lib.sh"
need create_compressed_fs qemu-img

{
	head -c 300000 /dev/urandom
	head -c 1000000 /dev/zero
	seq 1 150000
	head -c 700 /dev/urandom
} >image

# the levels: 7zip's deflate, stored, zlib's fastest and best
for options in '-B 4096 -L 9' '-B 65536 -L 1' '-B 131072 -L 0' '-B 65536 -L -1'; do
	create_compressed_fs -q $options image image.cloop >log 2>&1 || fail "create_compressed_fs: $(cat log)"
	"$tool" cloop image.cloop ours
	qemu-img convert -f cloop -O raw image.cloop theirs
	# qemu-img knows sectors only, and the file ends with padding: at least the image is there, and both agree
	cmp ours theirs
	head -c "$(stat -c %s image)" ours | cmp - image
done

head -c 200000 image.cloop >cut
refused "$tool" cloop cut ours
