#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# module_guide.sh - docs/module-guide.md does what it says, against an installed tree, where the source tree cannot be seen
#
# Of the guide: a block of C is the file named in the line above it, **`FILE`**; blocks of sh are run in one shell, in order;
# each line of a block of text has to be found in what was said since the last such block.
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:?}
build=${CHI_TEST_BUILD_DIR:?}
guide=${1:-$root/docs/module-guide.md}
# outside the source tree, which build/ is part of
dir=$(mktemp -d /tmp/chi-guide.XXXXXX)
trap 'rm -rf "$dir"' EXIT
unset DESTDIR CHI_REPO_PATH CHIMAERA_NAME PKG_CONFIG_PATH

"$root/cmake/prefix.sh" install "$build" "$dir/prefix"

# One script of the whole guide. It gets PREFIX, and in the file `said` what it has said.
awk '
	function quote(text) { gsub(/\047/, "\047\\\047\047", text); return "\047" text "\047" }
	/^\*\*`.*`\*\*$/ { split($0, part, "`"); file = part[2]; next }
	/^```(c|sh|text)$/ && !kind {
		kind = substr($0, 4)
		n[kind]++
		if (kind == "c") print "cat >" quote(file) " <<\047END OF FILE\047"
		if (kind == "sh") print "{"
		next
	}
	/^```$/ && kind {
		if (kind == "c") print "END OF FILE"
		if (kind == "sh") print "} > >(tee -a \"$SAID\") 2>&1"
		if (kind == "text") print ": >\"$SAID\""
		kind = ""
		next
	}
	kind == "text" { print "expect " quote($0) " " FNR; next }
	kind { print }
	END {
		if (kind || n["c"] < 3 || n["sh"] < 4 || n["text"] < 3) {
			print "the guide has blocks that are not understood" >"/dev/stderr"
			exit 1
		}
	}' "$guide" >"$dir/guide.sh"

cat >"$dir/session.sh" <<-'SESSION'
	set -euo pipefail
	dir=$1 hidden=$2 sanitize=$3
	if [ -n "$hidden" ]; then
		mount -t tmpfs none "$hidden"
		mkdir -m 0700 -p "$XDG_RUNTIME_DIR"
		[ ! -e "$hidden/CMakeLists.txt" ]
	fi
	unset TMPDIR
	trap 'kill $(jobs -p) 2>/dev/null || true' EXIT # the daemon, when the guide fails before it stops it
	export PREFIX=$dir/prefix SAID=$dir/said CFLAGS=$sanitize
	mkdir "$dir/work"
	cd "$dir/work"
	: >"$SAID"
	expect() {
		local tries=0
		# the shell does not wait for tee
		until grep -qF -- "$1" "$SAID"; do
			((++tries < 100)) || { echo "line $2 of the guide: '$1' was not said" >&2; exit 1; }
			sleep 0.05
		done
	}
	. "$dir/guide.sh"
	wait
SESSION

hide=(unshare -rm)
hidden=$root
if ! "${hide[@]}" true 2>/dev/null; then
	echo "SKIP: no mount namespaces for this user: the source tree stays in sight"
	hide=()
	hidden=
fi
timeout 100 "${hide[@]}" bash "$dir/session.sh" "$dir" "$hidden" \
	"${CHI_TEST_SANITIZE:+-fsanitize=$CHI_TEST_SANITIZE}" || {
	cat "$dir/work/histo/daemon.log" 2>/dev/null
	exit 1
}
echo "the guide works"
