#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# abi/symbols.sh - the libraries export our names only, have their soname, and bring in no C++
set -euo pipefail

lib=${CHI_TEST_BUILD_DIR:?}/lib
# two libraries of which one may break what the other has are two names, and so are their symbols' versions
version=$(sed -nE 's/^project\(chimaera VERSION ([0-9]+\.[0-9]+)\..*/\1/p' "${CHI_TEST_SOURCE_DIR:?}/CMakeLists.txt")
bad=0
fail() {
	echo "$*"
	bad=$((bad + 1))
}

for name in libchimaera libchimaera-runtime; do
	file=$lib/$name.so
	exported=$(nm -D --defined-only "$file" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort)
	[ -n "$exported" ] || fail "$name exports nothing"
	foreign=$(grep -vE '^(chi|hipc|hshm|HSHM)_' <<<"$exported" || true)
	[ -z "$foreign" ] || fail "$name exports $(tr '\n' ' ' <<<"$foreign")"
	grep -qxF "CHIMAERA_$version" <<<"$(nm -D --defined-only "$file" | awk '$2 == "A" { sub(/@.*/, "", $3); print $3 }')" ||
		fail "$name: no version CHIMAERA_$version"
	readelf -d "$file" | grep -qF "[$name.so.$version]" || fail "$name: soname is not $name.so.$version"
	if readelf -d "$file" | grep 'NEEDED.*stdc++'; then
		fail "$name needs the C++ library"
	fi
	echo "$name: $(wc -l <<<"$exported") exported"
done

# a program links one of the two: whatever the client's library has, the runtime's has too
only_client=$(comm -23 \
	<(nm -D --defined-only "$lib/libchimaera.so" | awk '$2 != "A" { print $3 }' | sort) \
	<(nm -D --defined-only "$lib/libchimaera-runtime.so" | awk '$2 != "A" { print $3 }' | sort))
[ -z "$only_client" ] || fail "only in libchimaera: $only_client"
[ $bad -eq 0 ]
