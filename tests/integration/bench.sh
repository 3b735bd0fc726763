#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# bench.sh - chimaera-bench measures, says what it has measured, and tells a ratio that got worse
. "${CHI_TEST_SOURCE_DIR:?}/tests/support/tool.bash"

bin=${CHI_TEST_BUILD_DIR:?}/bin/chimaera-bench
json_check=$CHI_TEST_BUILD_DIR/tests/bin/json_check
export CHIMAERA_COMMIT=0123abc

# measure CODE ARGS...: as run; a machine that others use too gives no figures, and is asked again
measure() {
	local code=$1 rc=0
	shift
	for _ in {1..5}; do
		rc=0
		"$bin" --seconds 0.2 "$@" >out 2>err || rc=$?
		[ $rc -ne 77 ] || skip "there are no two CPUs to measure between"
		grep -q 'are not ours alone' err || break
	done
	! grep -q 'are not ours alone' err || skip "the machine is too busy to measure anything"
	[ $rc -eq "$code" ] || fail "chimaera-bench $*: exit code $rc, not $code"
}

skip() {
	echo "SKIP: $1"
	exit 77
}

# ---- the command line
run 0 "$bin" --list
said '^references:$' out
said '^  pingpong +bare round trip' out
run 64 "$bin" no-such-case
said "no case or group is called 'no-such-case'" err
for bad in --seconds=0 --seconds=x --idle-seconds=-1 --cpus=0 --cpus=1,1 --no-such-option; do
	run 64 "$bin" $bad pingpong
done
run 64 "$bin" --check --record pingpong
run 1 "$bin" --check --ratios none.txt fcontext
said 'none.txt: No such file' err

# ---- one object a line
measure 0 --json pingpong fcontext roundtrip-busy
[ "$(wc -l <out)" -eq 3 ] || fail "not a line for each case"
while read -r line; do
	"$json_check" /bench /group /params /unit /n /min /p50 /p99 /p99.9 /max /ratio /reference /spread /placement /pingpong \
		/kept /discarded /commit /cpu /pinned <<<"$line" >values 2>err2 || { cat err2 >&2; fail "$line"; }
	mapfile -t v <values
	[[ ${v[3]} = ns && ${v[11]} = pingpong && ${v[13]} =~ ^(near|far)$ && ${v[15]} -ge 5 ]] || fail "$line"
	awk -v n="${v[4]}" -v min="${v[5]}" -v p50="${v[6]}" -v p99="${v[7]}" -v p999="${v[8]}" -v max="${v[9]}" -v ratio="${v[10]}" \
		'BEGIN { exit !(n > 0 && 0 < min && min <= p50 && p50 <= max && p99 <= p999 && p999 <= max && ratio > 0) }' ||
		fail "figures that cannot be: $line"
done <out

# ---- what is recorded is compared with
measure 0 --record --ratios ratios.txt fcontext
said '^fcontext (near|far) pingpong ns 0\.[0-9]+ [0-9.]+$' ratios.txt
record() {
	printf '# doctored\nfcontext near pingpong ns %s 0.05\nfcontext far pingpong ns %s 0.05\n' "$1" "$1" >ratios.txt
}
record 1000
measure 0 --check --ratios ratios.txt fcontext
[ ! -s err ] || fail "something is said of a ratio that holds"
record 0.00001
measure 1 --check --ratios ratios.txt fcontext
said '^worse: fcontext (near|far), 0\.[0-9]+ to pingpong, recorded 1e-05 with a spread of 5%' err
[ "$(grep -c '^fcontext' out)" -eq 2 ] || fail "what is worse is not measured once more"
: >ratios.txt
measure 0 --check --ratios ratios.txt fcontext
said '^no record: fcontext' err
echo 'fcontext near pingpong ns much 0.05' >ratios.txt
run 1 "$bin" --check --ratios ratios.txt fcontext
said '^chimaera-bench: ratios.txt:1: not a case' err
