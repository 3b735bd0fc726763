#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# layers/check.sh - no floor includes what is above it
#
# Reads every #include of the tree and compares it with the table in check(). Before that it plants forbidden lines in a
# scratch tree and sees that each is found.
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}

# check ROOT
check() {
	local dirs=() dir
	cd "$1"
	for dir in include src modules tools bench examples; do
		[ -d $dir ] && dirs+=("$dir")
	done
	find "${dirs[@]}" -name '*.[ch]' -exec \
		grep -HnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+["<]' {} + |
		awk '
	BEGIN {
		# floor: what it may use. The runtime uses the client'\''s embedded pieces; tools show layouts.
		may["api-hshm"] = " api-hshm "
		may["api"]      = " api-hshm api "
		may["hshm"]     = " api-hshm hshm "
		may["task"]     = " api-hshm api hshm task "
		may["client"]   = " api-hshm api hshm task client "
		may["runtime"]  = " api-hshm api hshm task client runtime "
		may["module"]   = " api-hshm api api-module "
		may["example"]  = may["module"]
		may["tool"]     = " api-hshm api api-module hshm task client runtime "
	}
	function floor_of_file(path) {
		if (path ~ /^include\/hshm\//) return "api-hshm"
		if (path ~ /^include\/chimaera\//) return "api"
		if (path ~ /^src\/(hshm|task|client|runtime)\//) { split(path, part, "/"); return part[2] }
		if (path ~ /^modules\//) return "module"
		if (path ~ /^examples\//) return "example"
		return "tool"
	}
	# nothing for a header of the system, or of the same folder
	function floor_of_name(name, quoted) {
		if (name ~ /(^|\/)\.\.\//) return "outside" # how to go round this check
		if (name ~ /^hshm\//) return quoted ? "hshm" : "api-hshm"
		if (name ~ /^(task|client|runtime)\//) { split(name, part, "/"); return part[1] }
		if (name ~ /^chimaera\/modules\//) return "api-module"
		if (name ~ /^chimaera\//) return "api"
		return ""
	}
	{
		match($0, /^[^:]*:[0-9]*:/)
		where = substr($0, 1, RLENGTH - 1)
		rest = substr($0, RLENGTH + 1)
		match(rest, /["<][^">]+/)
		quoted = substr(rest, RSTART, 1) == "\""
		name = substr(rest, RSTART + 1, RLENGTH - 1)
		floor = floor_of_file(where)
		target = floor_of_name(name, quoted)
		seen++
		if (target != "" && index(may[floor], " " target " ") == 0) {
			print where ": " floor " includes \"" name "\", which belongs to " target
			bad++
		}
	}
	END {
		print seen + 0 " includes, " bad + 0 " forbidden"
		exit (seen == 0 || bad > 0)
	}'
}

# planted FILE LINE: a tree of that one file
planted() {
	rm -rf "${scratch:?}/t"
	mkdir -p "$scratch/t/$(dirname "$1")"
	printf '#include <stdint.h>\n#include "neighbour.h"\n#include %s\n' "$2" >"$scratch/t/$1"
	(check "$scratch/t") >"$scratch/out"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
while read -r file line; do
	if planted "$file" "$line"; then
		echo "not found: $file with #include $line"
		exit 1
	fi
done <<-'EOT'
	src/hshm/planted.c "task/lane.h"
	src/hshm/planted.c <chimaera/task.h>
	src/task/planted.c "runtime/worker.h"
	src/task/planted.c "client/client.h"
	src/client/planted.c "runtime/worker.h"
	src/runtime/planted.c <chimaera/modules/blob.h>
	modules/planted/planted.c "task/lane.h"
	modules/planted/planted.c "../../src/task/lane.h"
	modules/planted/planted.c "hshm/heap_internal.h"
	examples/planted/planted.c "runtime/worker.h"
	include/hshm/planted.h <chimaera/task.h>
	include/chimaera/planted.h "task/lane.h"
EOT
if ! planted src/runtime/planted.c '"client/client.h"'; then
	cat "$scratch/out"
	exit 1
fi

check "$root"
