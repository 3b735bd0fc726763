#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# abi/abidiff.sh - compare the libraries of build/release with those of the last release
#
# usage: tests/abi/abidiff.sh [TAG], by way of ./dev abi. The tag's tree is built once, in build/abi/TAG. What was added is told;
# a change that breaks programs or modules of that release fails, unless CHI_ABI_VERSION was raised.
set -euo pipefail
cd "$(dirname "$0")/../.."

tag=${1:-$(git describe --tags --abbrev=0 2>/dev/null || true)}
if [ -z "$tag" ]; then
	echo "abi: there is no tag yet, so nothing to compare with"
	exit 0
fi
old=build/abi/$tag

if [ ! -e "$old/built" ]; then
	rm -rf "$old"
	mkdir -p "$old/source"
	git archive "$tag" | tar -x -C "$old/source"
	{
		cmake -S "$old/source" -B "$old/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCHIMAERA_TESTS=OFF \
			-DCHIMAERA_TOOLS=OFF -DCHIMAERA_EXAMPLES=OFF
		cmake --build "$old/build" --target chimaera chimaera-runtime
	} >"$old/log" 2>&1 || {
		tail -n 40 "$old/log"
		echo "abi: $tag does not build ($old/log)"
		exit 1
	}
	touch "$old/built"
fi

abi_version() {
	sed -n 's/^#define CHI_ABI_VERSION //p' "$1/include/chimaera/cdefs.h"
}

# compare NAME [OPTION...]: abidiff's report; 0 when there is nothing to report. A type that no installed header defines is
# nobody's business.
compare() {
	local name=$1 code=0
	shift
	abidiff --no-show-locs --suppressions tests/abi/abidiff.suppr --headers-dir1 "$old/source/include" \
		--headers-dir2 include "$@" "$old/build/lib/$name.so" "build/release/lib/$name.so" || code=$?
	# bits: 1 an error, 2 usage, 4 a change, 8 one that is surely incompatible
	if ((code & 3)); then
		echo "abi: abidiff failed with $code"
		exit 1
	fi
	return $code
}

broken=
for name in libchimaera libchimaera-runtime; do
	if compare "$name"; then
		echo "abi: $name: as in $tag"
	elif compare "$name" --no-added-syms >/dev/null; then
		echo "abi: $name: more than in $tag, and nothing changed"
	else
		echo "abi: $name: not as in $tag"
		broken=yes
	fi
done
[ -n "$broken" ] || exit 0
if [ "$(abi_version "$old/source")" != "$(abi_version .)" ]; then
	echo "abi: CHI_ABI_VERSION was raised since $tag"
	exit 0
fi
echo "abi: what was built against $tag breaks; if that is wanted, raise CHI_ABI_VERSION and the minor version, which is in the soname"
exit 1
