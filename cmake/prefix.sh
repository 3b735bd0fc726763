#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# prefix.sh - put a built tree into a prefix, and take it out again
#
# usage: prefix.sh install BUILD-FOLDER PREFIX
#        prefix.sh uninstall PREFIX
#
# DESTDIR, when set, stands before PREFIX. What was put there is listed in PREFIX/share/chimaera/manifest: "directory PATH" for
# those that were not there before, "SHA256  PATH" for files. So any tree, rebuilt or not, can take it out. A file that the
# manifest does not have is never overwritten; one that was changed since is never removed.
set -euo pipefail
umask 022

manifest_name=share/chimaera/manifest

die() {
	echo "$*" >&2
	exit 1
}

# what the manifest lists: owned directory, owned file
owned() {
	[ -f "$manifest" ] || return 0
	awk -v want="$1" '{ kind = $1 == "directory" ? "directory" : "file" }
		kind == want { sub(/^[^ ]+ +/, ""); print }' "$manifest"
}

is_there() {
	[ -e "$root/$1" ] || [ -L "$root/$1" ]
}

# A path that is not below the prefix is no line of ours.
check_manifest() {
	local bad
	bad=$({ owned directory && owned file; } | grep -E '^/|(^|/)\.\.(/|$)' || true)
	[ -z "$bad" ] || die "$manifest names what is not below $prefix: $bad"
}

install_tree() {
	local build=$1 staged path log
	# read by the trap
	stage=$(mktemp -d "$(realpath "$build")/stage.XXXXXX")
	trap 'rm -rf "$stage"' EXIT
	staged=$stage$prefix
	log=$(DESTDIR=$stage cmake --install "$build" --prefix "$prefix" 2>&1) || die "$log"
	mkdir -p "$staged/${manifest_name%/*}"

	local files foreign=()
	files=$(cd "$staged" && find . ! -type d -printf '%P\n' | sort)
	while IFS= read -r path; do
		! is_there "$path" || foreign+=("$root/$path")
	done < <(comm -23 <(echo "$files") <(owned file | sort))
	[ ${#foreign[@]} -eq 0 ] || die "already there, and not installed by this script: ${foreign[*]}
Remove them first, or take another prefix."

	# an older version's files that this one has no more
	comm -13 <(echo "$files") <(owned file | sort) | while IFS= read -r path; do
		rm -f "$root/$path"
	done

	# the manifest first: an install that is cut off can be taken out, or done again
	local new
	new=$({
		(cd "$staged" && find . -type d -printf '%P\n') | while IFS= read -r path; do
			path=${path:-.}
			if [ ! -d "$root/$path" ] || owned directory | grep -qxF "$path"; then
				echo "directory $path"
			fi
		done
		(cd "$staged" && xargs -d '\n' sha256sum <<<"$files")
	})
	mkdir -p "$root/${manifest_name%/*}"
	echo "$new" >"$manifest"
	# tar replaces a file by a new one: a running daemon keeps the old
	tar -c -C "$staged" -T - <<<"$files" | tar -x -C "$root" --no-same-owner -p
	echo "installed $(wc -l <<<"$files") files into $root"
}

uninstall_tree() {
	local sum path n=0 changed=() directories
	[ -f "$manifest" ] || die "nothing here that ./dev install put: there is no $manifest"
	while read -r sum path; do
		if [ "$sum" = directory ] || ! is_there "$path"; then
			continue
		elif [ "$(sha256sum "$root/$path" 2>/dev/null | cut -d' ' -f1)" = "$sum" ]; then
			# removed below: a link's target has to be there until the link was compared
			n=$((n + 1))
		else
			changed+=("$path")
		fi
	done <"$manifest"

	owned file | while IFS= read -r path; do
		[[ " ${changed[*]} " == *" $path "* ]] || rm -f "$root/$path"
	done
	# the deepest first
	mapfile -t directories < <(owned directory | LC_ALL=C sort -r)
	rm "$manifest"
	for path in "${directories[@]}"; do
		# "." is the prefix itself, and sorts last
		rmdir "$(realpath -ms "$root/$path")" 2>/dev/null || true
	done
	echo "removed $n files from $root"
	[ ${#changed[@]} -eq 0 ] || die "changed since they were installed, and left: ${changed[*]}"
}

case ${1:-} in
install) prefix=${3:?} ;;
uninstall) prefix=${2:?} ;;
*) die "usage: prefix.sh install BUILD-FOLDER PREFIX | uninstall PREFIX" ;;
esac
[[ $prefix == /* ]] || prefix=$PWD/$prefix
prefix=$(realpath -ms "$prefix")
root=${DESTDIR:-}$prefix
manifest=$root/$manifest_name
check_manifest
if [ "$1" = install ]; then
	install_tree "$2"
else
	uninstall_tree
fi
