#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# abi/headers.sh - each installed header compiles alone, in strict C11 and in C++17
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
cc=${CC:-cc}
cxx=${CXX:-c++}
if ! command -v "$cxx" >/dev/null; then
	echo "SKIP: no C++ compiler ($cxx): ./dev deps test"
	exit 77
fi

include=(-I"$root/include")
for dir in "$root"/modules/*/include; do
	[ -d "$dir" ] && include+=(-I"$dir")
done
warnings=(-Wall -Wextra -Wpedantic -Werror -fmax-errors=3 -fsyntax-only)

checked=0
bad=0
for dir in "${include[@]#-I}"; do
	while IFS= read -r header; do
		checked=$((checked + 1))
		# twice: the guard works; a line more: a header of macros alone is no empty unit
		text="#include <$header>
#include <$header>
extern int not_empty;"
		"$cc" -std=c11 "${warnings[@]}" "${include[@]}" -x c - <<<"$text" || {
			echo "not C11: $header"
			bad=$((bad + 1))
		}
		"$cxx" -std=c++17 "${warnings[@]}" "${include[@]}" -x c++ - <<<"$text" || {
			echo "not C++17: $header"
			bad=$((bad + 1))
		}
	done < <(cd "$dir" && find . -name '*.h' -printf '%P\n' | sort)
done

echo "$checked headers, $bad failures"
[ "$checked" -gt 0 ] && [ "$bad" -eq 0 ]
