#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# readme.sh - the program in README.md is the one in examples/hello, builds as the README says, and works
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${CHI_TEST_BUILD_DIR:?}
cc=${CC:-cc}
dir=$(mktemp -d)
daemon=
cleanup() {
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

fail() {
	echo "readme: $*" >&2
	exit 1
}

# Each block of C follows a line that names its file: **`examples/hello/NAME`**
awk -v dir="$dir" '
	/^\*\*`examples\/hello\/.*`\*\*/ { split($0, part, "`"); n = split(part[2], path, "/"); file = path[n]; next }
	/^```c$/ && file { inside = 1; next }
	/^```$/ { if (inside) { close(dir "/" file); file = "" }; inside = 0; next }
	inside { print > (dir "/" file) }' "$root/README.md"

n=0
for file in "$root"/examples/hello/*.[ch]; do
	name=${file##*/}
	[ -f "$dir/$name" ] || fail "README.md does not show examples/hello/$name"
	diff -u "$file" "$dir/$name" || fail "README.md and examples/hello/$name differ"
	n=$((n + 1))
done
[ $n -ge 3 ] || fail "only $n files in examples/hello"

flags=(-std=c11 -Wall -Wextra -Werror -I"$root/include")
sanitize=()
[ -z "${CHI_TEST_SANITIZE:-}" ] || sanitize=("-fsanitize=$CHI_TEST_SANITIZE")
"$cc" "${flags[@]}" "${sanitize[@]}" -shared -fPIC "$dir/chimaera_counter.c" -o "$dir/chimaera_counter.so"
"$cc" "${flags[@]}" "${sanitize[@]}" "$dir/hello.c" -o "$dir/hello" -L"$build/lib" -lchimaera -Wl,-rpath,"$build/lib"

[ -x "${CHIMAERA_BIN:-}" ] || fail "the command chimaera was not built"
CHI_REPO_PATH=$dir "$CHIMAERA_BIN" start >"$dir/ready" 2>"$dir/log" || fail "no daemon: $(cat "$dir/log")"
daemon=$(sed -n 's/^chimaera: ready .*pid \([0-9]*\),.*/\1/p' "$dir/ready")
first=$("$dir/hello") || fail "hello failed: $(cat "$dir/log")"
second=$("$dir/hello") || fail "hello failed: $(cat "$dir/log")"
[ "$first" = "total 42" ] || fail "first run said '$first'"
[ "$second" = "total 84" ] || fail "second run said '$second'"
"$CHIMAERA_BIN" stop || fail "it did not stop in order"
daemon=
