# For the scripts beside this: `. lib.sh` with the path of format_tool as $1. Leaves the shell in an empty temporary folder.
set -eu

tool=$(realpath "$1")
dir=$(mktemp -d "${TMPDIR:-/tmp}/interop.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"

need() {
	for program; do
		command -v "$program" >/dev/null || {
			echo "skipped: $program is not installed (tools/install-deps test)"
			exit 77
		}
	done
}

fail() {
	echo "failed: $*" >&2
	exit 1
}

# The command must end by itself with a failure: by a signal, or with success, is wrong.
refused() {
	status=0
	"$@" >refused.out 2>&1 || status=$?
	[ "$status" -gt 0 ] && [ "$status" -lt 126 ] || fail "status $status of: $* ($(cat refused.out))"
}
