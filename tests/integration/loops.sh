#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# loops.sh - the examples with an event loop of their own: libuv, io_uring
set -u

build=${CHI_TEST_BUILD_DIR:?}
dir=${XDG_RUNTIME_DIR:?}
daemon=

fail() {
	echo "loops: $*" >&2
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null
	exit 1
}

n_run=0 skipped=
for example in loop_uv loop_uring; do
	[ -x "$build/examples/$example" ] || skipped="$skipped $example (its library is missing: ./dev deps test)"
done

mkfifo "$dir/ready"
CHI_REPO_PATH=$build/examples/modules "$CHIMAERA_BIN" start --foreground >"$dir/ready" 2>"$dir/log" &
daemon=$!
read -r line <"$dir/ready" || fail "no line from the daemon: $(cat "$dir/log")"

if [ -x "$build/examples/loop_uv" ]; then
	got=$(timeout 60 "$build/examples/loop_uv") || fail "loop_uv ended with $?"
	[ "$got" = "total 5050" ] || fail "loop_uv said '$got'"
	n_run=$((n_run + 1))
fi
if [ -x "$build/examples/loop_uring" ]; then
	head -c 1000000 /dev/zero | tr '\0' '\1' >"$dir/ones"
	code=0
	got=$(timeout 60 "$build/examples/loop_uring" <"$dir/ones") || code=$?
	if [ $code -eq 77 ]; then
		skipped="$skipped loop_uring (the kernel lets nobody use io_uring)"
	else
		[ $code -eq 0 ] || fail "loop_uring ended with $code"
		[ "$got" = "total 1000000" ] || fail "loop_uring said '$got'"
		n_run=$((n_run + 1))
	fi
fi
"$CHIMAERA_BIN" stop || fail "stop ended with $?"
wait "$daemon" || fail "the daemon ended with $?"
if [ $n_run -eq 0 ]; then
	echo "SKIP: no example with a loop:$skipped"
	exit 77
fi
[ -z "$skipped" ] || echo "left out:$skipped"
exit 0
