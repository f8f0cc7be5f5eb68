#!/bin/sh
# Keys and signed messages, both ways between the format library and OpenBSD's signify.
. "$(dirname "$0")/lib.sh"
need signify-openbsd

head -c 100000 /dev/urandom >large
printf '' >empty
printf 'no newline at the end' >short
printf '{\n  "format": 1\n}\n' >json

"$tool" key ours.sec ours.pub
signify-openbsd -G -n -c 'their key' -s theirs.sec -p theirs.pub

for key in ours theirs; do
	for message in large empty short json; do
		# ours, checked by signify
		"$tool" sign $key.sec $message signed
		signify-openbsd -Ve -p $key.pub -x signed -m got >/dev/null || fail "signify refuses our $message by $key"
		cmp $message got

		# signify's, checked by us
		signify-openbsd -Se -s $key.sec -m $message -x signed
		"$tool" verify $key.pub signed got || fail "we refuse signify's $message by $key"
		cmp $message got
	done
done

# Both refuse the same things.
"$tool" sign ours.sec json signed
refused signify-openbsd -Ve -p theirs.pub -x signed -m got
refused "$tool" verify theirs.pub signed got
sed 's/"format": 1/"format": 2/' signed >changed
refused signify-openbsd -Ve -p ours.pub -x changed -m got
refused "$tool" verify ours.pub changed got
grep -q 'signature is wrong' refused.out
echo 'more' >>signed
refused signify-openbsd -Ve -p ours.pub -x signed -m got
refused "$tool" verify ours.pub signed got

# A signature beside the message says the same as the one inside.
"$tool" sign ours.sec json signed
head -n 2 signed >json.sig
signify-openbsd -V -p ours.pub -x json.sig -m json >/dev/null || fail 'signify refuses our detached signature'
