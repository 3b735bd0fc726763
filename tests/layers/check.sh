#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# layers/check.sh - no floor includes what is above it
#
# usage: check.sh [ROOT]. Reads every #include of the tree and compares it with the table below.
# `check.sh --self-test` plants one forbidden line per floor in a copy and sees that each is found.
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}

# floor of a file, by its path from the root
floor_of_file() {
	case $1 in
	include/hshm/*) echo api-hshm ;;
	include/chimaera/*) echo api ;;
	src/hshm/*) echo hshm ;;
	src/task/*) echo task ;;
	src/client/*) echo client ;;
	src/runtime/*) echo runtime ;;
	modules/*) echo module ;;
	tools/* | bench/*) echo tool ;;
	examples/*) echo example ;;
	esac
}

# floor of an included name; nothing for the system's headers
floor_of_include() {
	case $1 in
	hshm/*) [ -e "$root/include/$1" ] && echo api-hshm || echo hshm ;;
	task/*) echo task ;;
	client/*) echo client ;;
	runtime/*) echo runtime ;;
	chimaera/modules/*) echo api-module ;;
	chimaera/*) echo api ;;
	*.h)
		# the neighbour in the same folder is the same floor; "../" is how to go round this check
		case $1 in ..*) echo outside ;; esac
		;;
	esac
}

# what each floor may use. runtime uses the client's embedded pieces; tools and examples stand on the installed headers
# (tools may look at the layouts too, to show them).
may_use() {
	case $1 in
	api-hshm) echo " api-hshm " ;;
	api) echo " api-hshm api " ;;
	hshm) echo " api-hshm hshm " ;;
	task) echo " api-hshm api hshm task " ;;
	client) echo " api-hshm api api-module hshm task client " ;;
	runtime) echo " api-hshm api api-module hshm task client runtime " ;;
	module) echo " api-hshm api api-module " ;;
	tool) echo " api-hshm api api-module hshm task client runtime " ;;
	example) echo " api-hshm api api-module " ;;
	esac
}

check() {
	local bad=0 seen=0 file floor line name target
	cd "$root"
	while IFS=: read -r file line name; do
		floor=$(floor_of_file "$file")
		[ -n "$floor" ] || continue
		target=$(floor_of_include "$name")
		seen=$((seen + 1))
		[ -n "$target" ] || continue
		# a module is alone: of the others it sees what they install
		case "$(may_use "$floor")" in
		*" $target "*) ;;
		*)
			echo "$file:$line: $floor includes \"$name\", which belongs to $target"
			bad=$((bad + 1))
			;;
		esac
	done < <(find include src modules tools bench examples -name '*.[ch]' -print0 2>/dev/null |
		xargs -0r grep -HnoE '^[[:space:]]*#[[:space:]]*include[[:space:]]+["<][^">]+' |
		sed -E 's/^([^:]*):([0-9]*):.*["<]/\1:\2:/')
	if [ $seen -eq 0 ]; then
		echo "no #include found under $root"
		return 1
	fi
	echo "$seen includes, $bad forbidden"
	[ $bad -eq 0 ]
}

self_test() {
	local source=$root scratch planted failed=0
	scratch=$(mktemp -d)
	trap 'rm -rf "$scratch"' EXIT
	while read -r file line; do
		rm -rf "$scratch/t"
		mkdir -p "$scratch/t"
		cp -r "$source/include" "$scratch/t/"
		planted=$scratch/t/$file
		mkdir -p "$(dirname "$planted")"
		printf '#include <stdint.h>\n#include %s\n' "$line" >"$planted"
		if (root=$scratch/t && check >/dev/null); then
			echo "not found: $file with #include $line"
			failed=1
		fi
	done <<-'EOT'
		src/hshm/planted.c "task/lane.h"
		src/hshm/planted.c <chimaera/task.h>
		src/task/planted.c "runtime/worker.h"
		src/task/planted.c "client/client.h"
		src/client/planted.c "runtime/worker.h"
		modules/planted/planted.c "task/lane.h"
		modules/planted/planted.c "../../src/task/lane.h"
		include/hshm/planted.h <chimaera/task.h>
		include/chimaera/planted.h "task/lane.h"
	EOT
	[ $failed -eq 0 ] && echo "every planted include was found"
}

self_test
check
