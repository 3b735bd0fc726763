#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# transcript.sh - a terminal session from the install to a module of one's own; prints it, and fails where it goes another way
#
# The session is transcript.txt. A line that begins with "$ " is a command, "> " more of it, "# " a remark. What follows is what it
# writes, line by line; * stands for anything, and a line "..." for any lines. "[N]" as the last line is the exit code, when it
# is not 0. The commands see $tree, $build, $prefix and
# $CFLAGS. One that names $tree sees the source tree, the others do not.
set -euo pipefail

if [ -z "${tree_can_hide:-}" ]; then
	if unshare -rm true 2>/dev/null; then
		tree_can_hide=yes exec unshare -rm "$0"
	fi
	echo "SKIP: no mount namespaces for this user: the source tree stays in sight"
	tree_can_hide=no
fi

export tree=${CHI_TEST_SOURCE_DIR:?} build=${CHI_TEST_BUILD_DIR:?}
home=$(mktemp -d /tmp/chi-transcript.XXXXXX)
export prefix=$home/chimaera XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$home/run}
trap 'cd /; "$prefix/bin/chimaera" stop >/dev/null 2>&1 || true; rm -rf "$home"' EXIT
unset CHI_REPO_PATH CHIMAERA_NAME PKG_CONFIG_PATH CMAKE_PREFIX_PATH DESTDIR
# a program that links a library with a sanitizer needs it, too
export CFLAGS=${CHI_TEST_SANITIZE:+-fsanitize=$CHI_TEST_SANITIZE}
mkdir -p "$XDG_RUNTIME_DIR" "$home/work"
cd "$home/work"

# matches ACTUAL-FILE EXPECTED-FILE
matches() {
	local -a actual expected
	local i=0 j
	mapfile -t actual <"$1"
	mapfile -t expected <"$2"
	for ((j = 0; j < ${#expected[@]}; j++)); do
		if [ "${expected[j]}" = "..." ]; then
			((j + 1 < ${#expected[@]})) || return 0
			# the next expected line says where to go on; the patterns are meant as such
			# shellcheck disable=SC2053
			while ((i < ${#actual[@]})) && [[ ${actual[i]} != ${expected[j + 1]} ]]; do
				i=$((i + 1))
			done
			continue
		fi
		# shellcheck disable=SC2053
		((i < ${#actual[@]})) && [[ ${actual[i]} == ${expected[j]} ]] || return 1
		i=$((i + 1))
	done
	((i == ${#actual[@]}))
}

tree_hidden=
# tree_for COMMAND
tree_for() {
	if [[ $1 == *"\$tree"* ]]; then
		[ -z "$tree_hidden" ] || umount -l "$tree"
		tree_hidden=
	elif [ -z "$tree_hidden" ] && [ "$tree_can_hide" = yes ]; then
		mount -t tmpfs none "$tree"
		mkdir -m 0700 -p "$XDG_RUNTIME_DIR"
		[ ! -e "$tree/CMakeLists.txt" ]
		tree_hidden=yes
	fi
}

# run_step LINE COMMAND: in this shell, so that cd and export last
run_step() {
	local code=0 wanted=0
	tree_for "$2"
	echo "\$ ${2//$'\n'/$'\n'> }"
	eval "$2" >"$home/actual" 2>&1 </dev/null || code=$?
	cat "$home/actual"
	[ $code -eq 0 ] || echo "[$code]"
	if [[ $(tail -n 1 "$home/expected") =~ ^\[([0-9]+)\]$ ]]; then
		wanted=${BASH_REMATCH[1]}
		sed -i '$d' "$home/expected"
	fi
	if [ $code -ne "$wanted" ] || ! matches "$home/actual" "$home/expected"; then
		echo
		echo "transcript.sh:$1: this is not what was expected, which is exit code $wanted and"
		sed 's/^/    /' "$home/expected"
		exit 1
	fi
}

number=0
command=
while IFS= read -r line; do
	number=$((number + 1))
	case $line in
	"" | "# "*) ;;
	"$ "*)
		[ -z "$command" ] || run_step "$at" "$command"
		command=${line#\$ } at=$number
		: >"$home/expected"
		;;
	">") command+=$'\n' ;;
	"> "*) command+=$'\n'${line#> } ;;
	*) echo "$line" >>"$home/expected" ;;
	esac
done <"$tree/tests/install/transcript.txt"
run_step "$at" "$command"
