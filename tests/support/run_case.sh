#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# run_case.sh - run one test program with a runtime directory of its own, and see that nothing of it is left
#
# usage: run_case.sh COMMAND [ARG...], from ctest, which sets CHI_TEST_BUILD_DIR
#
# The test's exit code is kept (77: skipped; it printed "SKIP: reason"). A test that passes but leaves a process or a
# socket behind fails.
set -u

build=${CHI_TEST_BUILD_DIR:?}
mkdir -p "$build/tests/run"
dir=$(mktemp -d "$build/tests/run/XXXXXX") || exit 1
# a socket's path has 107 bytes, and the name in it is up to 40
if [ ${#dir} -gt 60 ]; then
	rmdir "$dir"
	dir=$(mktemp -d /tmp/chi-test.XXXXXX) || exit 1
fi
trap 'rm -rf "$dir"' EXIT
trap 'exit 143' TERM INT HUP

# Every process of the test carries the directory in its first environment; of the dead, /proc shows none.
processes_left() {
	grep -lzxF "XDG_RUNTIME_DIR=$dir" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}

env XDG_RUNTIME_DIR="$dir" TMPDIR="$dir" \
	CHI_REPO_PATH="$build/modules:$build/tests/modules" \
	CHIMAERA_BIN="$build/bin/chimaera" ARCHIVE_BIN="$build/examples/archive" \
	ASAN_OPTIONS="detect_stack_use_after_return=0:${ASAN_OPTIONS:-}" \
	TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:${TSAN_OPTIONS:-}" \
	UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}" \
	"$@"
rc=$?

# one that was killed and not waited for may take a moment to go
left=$(processes_left)
tries=0
while [ -n "$left" ] && [ $tries -lt 40 ]; do
	sleep 0.05
	tries=$((tries + 1))
	left=$(processes_left)
done
for pid in $left; do
	echo "run_case: left running: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" >&2
	kill -KILL "$pid" 2>/dev/null
	[ $rc -ne 0 ] || rc=1
done

sockets=$(find "$dir" -type s 2>/dev/null)
if [ -n "$sockets" ] && [ $rc -eq 0 ]; then
	echo "run_case: sockets left: $sockets" >&2
	rc=1
fi
exit $rc
