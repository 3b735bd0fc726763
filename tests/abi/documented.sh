#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# abi/documented.sh - each exported symbol is declared in an installed header, right below a comment that begins with its name
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:?}
lib=${CHI_TEST_BUILD_DIR:?}/lib

# "NAME" of each declaration whose first line follows a comment that says "NAME - what it does"
documented() {
	find "$root"/include "$root"/modules/*/include -name '*.h' -exec awk '
		/^\/\*\*/ { name = ""; begun = 1 }
		begun && name == "" && match($0, /(\/\*\*| \*) [A-Za-z_0-9]+ - /) {
			name = substr($0, RSTART, RLENGTH)
			gsub(/[^A-Za-z_0-9]/, "", name)
		}
		/\*\/$/ { ended = FNR; begun = 0 }
		/^(CHI|HSHM)_API / && FNR == ended + 1 && $0 ~ "[ *]" name "[(;]" { print name }' {} +
}

exported=$(nm -D --defined-only "$lib/libchimaera.so" "$lib/libchimaera-runtime.so" |
	awk 'NF == 3 && $2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
missing=$(comm -23 <(echo "$exported") <(documented | sort -u))
[ -n "$exported" ] || exit 1
[ -z "$missing" ] || {
	echo "no comment of their own in a header: $missing"
	exit 1
}
echo "$(wc -l <<<"$exported") symbols, each with its comment"
