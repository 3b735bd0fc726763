#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# bench_cases.sh - the cases of the bench that measure our own runtime work: each gives a figure, and finds its results right
. "${CHI_TEST_SOURCE_DIR:?}/tests/support/tool.bash"

if [ "${CHI_TEST_SANITIZE:-}" = thread ]; then
	echo "SKIP: ThreadSanitizer has no room for as many fibers"
	exit 77
fi
bench=${CHI_TEST_BUILD_DIR:?}/bin/chimaera-bench
groups=(roundtrip wake throughput crowd open_loop payload held locks lanes periodic start memory idle)
others=(call-1 call-deep-8 wait-1 wait-64) # a million tasks take too long in a debug build

rc=0
"$bench" --seconds 0.05 --idle-seconds 0.2 --json "${groups[@]}" "${others[@]}" >out 2>err || rc=$?
if [ $rc -eq 77 ]; then
	echo "SKIP: there are no two CPUs to measure between"
	exit 77
fi
# On a machine that others use too a case gives no figure, which is no failure of ours.
n_failed=$(grep -c ' failed$' err)
[ "$n_failed" -eq "$(grep -c 'are not ours alone' err)" ] || fail "a case failed"
n_cases=$("$bench" --list | awk -v groups="${groups[*]}" -v n=${#others[@]} '
	BEGIN { split(groups, names, " "); for (i in names) ours[names[i] ":"] = 1 }
	/^[a-z_]+:$/ { in_ours = $1 in ours; next }
	in_ours && !/\(--full\)$/ { n++ }
	END { print n }')
[ $(($(wc -l <out) + n_failed)) -eq "$n_cases" ] || fail "not a line for each of $n_cases cases"
