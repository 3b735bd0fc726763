#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# consumers.sh - programs and a module of somebody else: built against an installed tree, with pkg-config and with CMake, and
# run where the source tree cannot be seen; also after the installed tree was moved
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:?}
build=${CHI_TEST_BUILD_DIR:?}
cc=${CC:-cc}
cxx=${CXX:-c++}
# outside the source tree, which build/ is part of
dir=$(mktemp -d /tmp/chi-install.XXXXXX)
trap 'rm -rf "$dir"' EXIT
unset DESTDIR CHI_REPO_PATH PKG_CONFIG_PATH CHIMAERA_NAME

fail() {
	echo "consumers.sh:${BASH_LINENO[0]}: $*" >&2
	exit 1
}

# nothing_of_the_tree PATH...: no file there names the tree that it was built from
nothing_of_the_tree() {
	local found
	# the sanitizers of gcc 12 write where the code stood, whatever -ffile-prefix-map says
	[ -z "${CHI_TEST_SANITIZE:-}" ] || return 0
	found=$(grep -rlF -- "$root" "$@" || true)
	[ -z "$found" ] || fail "these name $root: $found"
}

sanitize=()
[ -z "${CHI_TEST_SANITIZE:-}" ] || sanitize=("-fsanitize=$CHI_TEST_SANITIZE")
mkdir "$dir/source"
cp "$root"/examples/hello/* "$root"/tests/install/consumer/* "$dir/source"

# ---- installed, then moved -------------------------------------------------------------------------------------------

"$root/cmake/prefix.sh" install "$build" "$dir/first"
nothing_of_the_tree "$dir/first"
prefix=$dir/moved
mv "$dir/first" "$prefix"
rpaths=$(find "$prefix" -type f \( -name '*.so*' -o -path '*/bin/*' \) -exec readelf -d {} \; | grep -E 'R(UN)?PATH' || true)
[[ $rpaths =~ ^[^$'\n']*\[\$ORIGIN/\.\./lib[^$'\n']*\]$ ]] || fail "RPATHs: $rpaths"
libdir=$(dirname "$(find "$prefix" -name libchimaera.so)")

# ---- pkg-config ------------------------------------------------------------------------------------------------------

export PKG_CONFIG_PATH=$libdir/pkgconfig
flags() {
	pkg-config --cflags --libs "$1"
}
strict=(-Wall -Wextra -Wpedantic -Werror "${sanitize[@]}")
by_pc=$dir/by-pkg-config
mkdir "$by_pc"
[ "$(pkg-config --modversion chimaera)" = "$(pkg-config --modversion chimaera-runtime)" ] || fail "two versions"
# the flags are words
# shellcheck disable=SC2046
(
	cd "$dir/source"
	"$cc" -std=c11 "${strict[@]}" hello.c -o "$by_pc/hello" $(flags chimaera)
	"$cxx" -std=c++17 "${strict[@]}" hello_cxx.cpp -o "$by_pc/hello_cxx" $(flags chimaera)
	"$cc" -std=c11 "${strict[@]}" embedded.c -o "$by_pc/embedded" $(flags chimaera-runtime)
	"$cc" -std=c11 "${strict[@]}" -shared -fPIC chimaera_counter.c -o "$by_pc/chimaera_counter.so" \
		$(pkg-config --cflags chimaera-runtime)
)
[ -d "$(pkg-config --variable=moduledir chimaera-runtime)" ] || fail "no moduledir"

# ---- CMake -----------------------------------------------------------------------------------------------------------

by_cmake=$dir/by-cmake
cmake -S "$dir/source" -B "$by_cmake" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
	-DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_C_FLAGS="${strict[*]}" -DCMAKE_CXX_FLAGS="${strict[*]}" >"$dir/log" ||
	fail "cmake: $(cat "$dir/log")"
cmake --build "$by_cmake" >"$dir/log" || fail "cmake: $(cat "$dir/log")"
nothing_of_the_tree "$by_pc"
nothing_of_the_tree "$by_cmake"/{hello,hello_cxx,embedded,chimaera_counter.so}

# ---- run without the tree --------------------------------------------------------------------------------------------

cat >"$dir/session.sh" <<-'SESSION'
	set -euo pipefail
	prefix=$1 libdir=$2 programs=$3 hidden=$4
	if [ -n "$hidden" ]; then
		mount -t tmpfs none "$hidden"
		mkdir -m 0700 -p "$XDG_RUNTIME_DIR"
		[ ! -e "$hidden/CMakeLists.txt" ]
	fi
	cd /
	unset TMPDIR
	export LD_LIBRARY_PATH=$libdir

	[ "$("$programs/embedded")" = "pool compress" ]
	mkfifo "$programs/ready"
	CHI_REPO_PATH=$programs env -u LD_LIBRARY_PATH "$prefix/bin/chimaera" start --foreground >"$programs/ready" &
	daemon=$!
	read -r line <"$programs/ready"
	[[ $line == *ready* ]]
	[ "$("$programs/hello")" = "total 42" ]
	[ "$("$programs/hello_cxx")" = "total 84" ]
	"$prefix/bin/chimaera" stop
	wait "$daemon"
SESSION

# a mount namespace of our own hides the tree; where the system allows none, the search for its path has to do
hide=(unshare -rm)
hidden=$root
if ! "${hide[@]}" true 2>/dev/null; then
	echo "SKIP: no mount namespaces for this user: the source tree stays in sight"
	hide=()
	hidden=
fi
for programs in "$by_pc" "$by_cmake"; do
	timeout 60 "${hide[@]}" bash "$dir/session.sh" "$prefix" "$libdir" "$programs" "$hidden" || fail "in ${programs##*/}"
	echo "${programs##*/}: C, C++, embedded and module work"
done
