#!/bin/sh
# Blocks are ordinary zstd files: the zstd program reads ours, we read its own, and the name is what sha256sum says.
. "$(dirname "$0")/lib.sh"
need zstd sha256sum

printf 'hello\n' >hello
head -c 262144 /dev/urandom >random
head -c 65536 /dev/zero >zeros
seq 1 100000 >numbers
head -c 4194304 /dev/urandom >largest

for file in hello random zeros numbers largest; do
	sum=$(sha256sum <$file | cut -d ' ' -f 1)
	for level in 1 3 12 19; do
		path=$("$tool" encode $level $file block)
		[ "$path" = "blocks/$(echo "$sum" | cut -c 1-2)/$sum" ] || fail "wrong path of $file: $path"
		[ "$(zstd -dc block | sha256sum | cut -d ' ' -f 1)" = "$sum" ] || fail "zstd reads $file otherwise"
		zstd -lv block | grep -q 'Decompressed Size' || fail 'no content size'

		zstd -q -f -$level $file -o theirs
		"$tool" decode theirs got "$sum"
		cmp $file got
	done
done

# What zstd reads too, but is no block.
sum=$(sha256sum <numbers | cut -d ' ' -f 1)
zstd -q -c <numbers >streamed # from a pipe: no content size
refused "$tool" decode streamed got "$sum"
grep -q 'does not say its content size' refused.out
zstd -q -c numbers >one
cat one one >two
refused "$tool" decode two got "$sum"
head -c 4194305 /dev/zero >too-large
zstd -q -f too-large -o frame
refused "$tool" decode frame got "$sum"
refused "$tool" encode 3 too-large block
