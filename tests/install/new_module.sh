#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# new_module.sh - what chimaera new-module writes builds without a warning and passes its test against an installed tree,
# whatever the name; names that cannot be and folders that are there already are refused, and nothing is touched
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:?}
build=${CHI_TEST_BUILD_DIR:?}
cc=${CC:-cc}
dir=$(mktemp -d /tmp/chi-new-module.XXXXXX)
trap 'rm -rf "$dir"' EXIT
unset DESTDIR CHI_REPO_PATH CHIMAERA_NAME

fail() {
	echo "new_module.sh:${BASH_LINENO[0]}: $*" >&2
	[ ! -s "$dir/out" ] || sed 's/^/    /' "$dir/out" >&2
	exit 1
}

# run CODE COMMAND...
run() {
	local wanted=$1 code=0
	shift
	"$@" >"$dir/out" 2>&1 || code=$?
	[ "$code" -eq "$wanted" ] || fail "$* ended with $code, not $wanted"
}

said() {
	grep -qF -- "$1" "$dir/out" || fail "'$1' was not said"
}

"$root/cmake/prefix.sh" install "$build" "$dir/prefix"
chimaera=$dir/prefix/bin/chimaera
mkdir "$dir/work"
cd "$dir/work"

# ---- refused
for name in '' 9lives Capital with-dash 'with space' ../up a/b nï "\$(id)" _under "$(printf 'a%.0s' {1..64})" blob test all; do
	run 2 "$chimaera" new-module -- "$name"
	said "cannot be a module's name"
done
run 2 "$chimaera" new-module
run 2 "$chimaera" new-module one two
[ -z "$(ls -A)" ] || fail "something was written: $(ls -A)"
mkdir here
echo mine >here/file
run 1 "$chimaera" new-module here
said "cannot make the folder 'here'"
[ "$(cat here/*)" = mine ] || fail "a folder that was there was touched"
if [ "$(id -u)" -ne 0 ]; then
	mkdir -m 0555 closed
	(cd closed && run 1 "$chimaera" new-module denied)
fi

# ---- built and tested, by the strictest compiler
flags=(-std=c11 -Wall -Wextra -Wpedantic -Werror)
[ -z "${CHI_TEST_SANITIZE:-}" ] || flags+=("-fsanitize=$CHI_TEST_SANITIZE")
for name in tally x2_long_name_; do
	run 0 "$chimaera" new-module "$name"
	said "wrote $name/:"
	if grep -rn '@' "$name"; then
		fail "a placeholder is left"
	fi
	run 0 cmake -S "$name" -B "$name/build" -G Ninja -DCMAKE_PREFIX_PATH="$dir/prefix" -DCMAKE_C_COMPILER="$cc" \
		-DCMAKE_C_FLAGS="${flags[*]}"
	run 0 cmake --build "$name/build"
	run 0 ctest --test-dir "$name/build" --output-on-failure --no-tests=error
	said "100% tests passed"
done
grep -h INTERFACE_HASH\ UINT64 ./*/*.h | sort -u | grep -c . | grep -qx 2 || fail "two modules have one interface hash"
# the test that came with it can fail
sed -i 's/task->sum += data\[i\]/task->sum -= data[i]/' tally/chimaera_tally.c
run 0 cmake --build tally/build
run 8 ctest --test-dir tally/build
# and once installed, the runtime finds it
run 0 cmake --install x2_long_name_/build
[ -n "$(find "$dir/prefix" -path '*/chimaera/chimaera_x2_long_name_.so')" ] || fail "not where installed modules are"
echo "new modules build, and their tests tell"
