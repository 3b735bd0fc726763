#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# abi/table.sh - the sizes of the counters' rows in docs/shm-layout.md are those of layout.txt, which abi_layout
# compares with the code
set -euo pipefail
cd "${CHI_TEST_SOURCE_DIR:-.}"

# size STRUCT: from layout.txt
size() {
	awk -v name="$1" '$1 == name { print $2 }' tests/abi/layout.txt
}

# cells ROW: the first number of each cell, a dash where there is none
cells() {
	awk -F'|' -v row=" $1 " '
		$2 == row { for (i = 3; i < NF; i++)
				printf "%s ", match($i, /[0-9]+/) ? substr($i, RSTART, RLENGTH) : "-" }' \
		docs/shm-layout.md
}

# wanted KIND: the same from the structs
wanted() {
	local of n
	for of in runtime worker pool method client lane; do
		n=$(size "chi_${of}_$1")
		printf '%s ' "${n:--}"
	done
}

rc=0
for kind in facts counters; do
	[ "$(cells $kind)" = "$(wanted $kind)" ] || {
		echo "docs/shm-layout.md, row '$kind': $(cells $kind), in the code: $(wanted $kind)" >&2
		rc=1
	}
done
exit $rc
