#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# prefix.sh - cmake/prefix.sh, which ./dev install and uninstall call: writes below the prefix alone, takes out what it put
# there and nothing else
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:?}
build=${CHI_TEST_BUILD_DIR:?}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
unset DESTDIR

fail() {
	echo "prefix.sh:${BASH_LINENO[0]}: $*" >&2
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

snapshot() {
	(cd "$1" && find . -printf '%p %y %m %l\n' | sort)
}

prefix_sh=$root/cmake/prefix.sh

# ---- in and out; what was there stays, and nothing else is written
p=$dir/p
mkdir -p "$p/lib/pkgconfig" "$p/share/man"
chmod 0750 "$p/lib"
echo mine >"$p/lib/pkgconfig/other.pc"
before=$(snapshot "$p")
run 0 "$prefix_sh" install "$build" "$p"
installed=$(snapshot "$p")
for file in bin/chimaera include/chimaera/task.h include/chimaera/counters/worker.def lib/libchimaera.so.0.1 \
	lib/libchimaera-runtime.so.0.1 lib/chimaera/chimaera_blob.so lib/pkgconfig/chimaera.pc \
	lib/cmake/chimaera/chimaeraConfigVersion.cmake share/bash-completion/completions/chimaera \
	share/man/man1/chimaera.1 share/man/man3/libchimaera.3 share/man/man5/chimaera.yaml.5 share/man/man7/chimaera.7 \
	share/doc/chimaera/chimaera.service share/doc/chimaera/chimaera.yaml share/doc/chimaera/counters.md share/doc/chimaera/SECURITY.md; do
	[ -e "$p/$file" ] || fail "not installed: $file"
done
grep -qxF "ExecStart=$p/bin/chimaera start --foreground" "$p/share/doc/chimaera/chimaera.service" || fail "unit's path"
# a supervisor waits longer than a stop may take: twice stop_timeout_ms, and a second for the modules, one for the workers
stop_ms=$("$p/bin/chimaera" config | sed -n 's/^stop_timeout_ms: *\([0-9]*\).*/\1/p')
unit_s=$(sed -n 's/^TimeoutStopSec=//p' "$p/share/doc/chimaera/chimaera.service")
[ $((unit_s * 1000)) -gt $((2 * stop_ms + 2000)) ] || fail "unit: a stop may take longer than $unit_s s"
run 0 "$prefix_sh" install "$build" "$p"
[ "$(snapshot "$p")" = "$installed" ] || fail "the second install differs from the first"
run 0 "$prefix_sh" uninstall "$p"
diff <(echo "$before") <(snapshot "$p") || fail "the prefix is not as it was"

# ---- DESTDIR, and a prefix that was not there
run 0 env DESTDIR="$dir/destdir" "$prefix_sh" install "$build" /opt/chimaera
[ -x "$dir/destdir/opt/chimaera/bin/chimaera" ] || fail "DESTDIR is not honoured"
[ ! -e /opt/chimaera/share/chimaera/manifest ] || fail "DESTDIR is passed over"
grep -qxF "ExecStart=/opt/chimaera/bin/chimaera start --foreground" \
	"$dir/destdir/opt/chimaera/share/doc/chimaera/chimaera.service" || fail "DESTDIR is in the unit file"
run 0 env DESTDIR="$dir/destdir" "$prefix_sh" uninstall /opt/chimaera
[ -z "$(ls -A "$dir/destdir/opt")" ] || fail "left: $(find "$dir/destdir")"

# ---- what is not ours
run 1 "$prefix_sh" uninstall "$p"
said "nothing here that ./dev install put"
mkdir -p "$p/bin"
echo "somebody's" >"$p/bin/chimaera"
run 1 "$prefix_sh" install "$build" "$p"
said "$p/bin/chimaera"
[ "$(cat "$p/bin/chimaera")" = "somebody's" ] || fail "overwritten"
[ ! -e "$p/include" ] || fail "half installed"
rm "$p/bin/chimaera"

# ---- changed since, gone since, new beside them, gone from the next version
run 0 "$prefix_sh" install "$build" "$p"
echo "# changed" >>"$p/share/doc/chimaera/chimaera.yaml"
rm "$p/include/chimaera/task.h"
echo mine >"$p/include/chimaera/mine.h"
echo old >"$p/bin/old"
echo "$(sha256sum <"$p/bin/old" | cut -d' ' -f1)  bin/old" >>"$p/share/chimaera/manifest"
run 0 "$prefix_sh" install "$build" "$p"
[ ! -e "$p/bin/old" ] || fail "a file of the last version stays"
echo "# changed" >>"$p/share/doc/chimaera/chimaera.yaml"
run 1 "$prefix_sh" uninstall "$p"
said "share/doc/chimaera/chimaera.yaml"
left=$(cd "$p" && find . -type f | sort | tr '\n' ' ')
[ "$left" = "./include/chimaera/mine.h ./lib/pkgconfig/other.pc ./share/doc/chimaera/chimaera.yaml " ] || fail "left: $left"

# ---- a manifest that leads outside
mkdir -p "$p/share/chimaera"
echo kept >"$dir/outside"
echo "$(sha256sum <"$dir/outside" | cut -d' ' -f1)  ../outside" >"$p/share/chimaera/manifest"
run 1 "$prefix_sh" uninstall "$p"
said "not below"
[ -e "$dir/outside" ] || fail "removed what is outside of the prefix"
