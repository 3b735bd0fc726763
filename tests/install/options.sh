#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# options.sh - what CHIMAERA_TOOLS=OFF and CHIMAERA_EXAMPLES=OFF leave out is neither built nor asked for
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:?}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
	echo "options.sh:${BASH_LINENO[0]}: $*" >&2
	exit 1
}

# a machine without what only tools and examples use
cat >"$dir/pkg-config" <<-'SCRIPT'
	#!/bin/sh
	case "$*" in *json-c*|*libuv*|*liburing*) exit 1 ;; esac
	exec pkg-config "$@"
SCRIPT
chmod +x "$dir/pkg-config"

cmake -S "$root" -B "$dir/build" -G Ninja -DPKG_CONFIG_EXECUTABLE="$dir/pkg-config" -DCMAKE_C_COMPILER="${CC:-cc}" \
	-DCHIMAERA_TOOLS=OFF -DCHIMAERA_EXAMPLES=OFF >"$dir/log" 2>&1 || fail "$(cat "$dir/log")"
targets=$(ninja -C "$dir/build" -t targets all)
grep -q '^lib/libchimaera-runtime.so:' <<<"$targets" || fail "no library is built"
left=$(grep -E '^(bin/|examples/|chimaera_tool:|example_)' <<<"$targets" || true)
[ -z "$left" ] || fail "still there: $left"
left=$(grep -E 'bin/chimaera"|completion|chimaera\.1"|\.service' "$dir/build/cmake_install.cmake" || true)
[ -z "$left" ] || fail "still installed: $left"
