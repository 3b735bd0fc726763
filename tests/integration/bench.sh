#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# bench.sh - chimaera-bench measures, says what it has measured, and tells a ratio that got worse; tables and plots of results
. "${CHI_TEST_SOURCE_DIR:?}/tests/support/tool.bash"

bin=${CHI_TEST_BUILD_DIR:?}/bin/chimaera-bench
json_check=$CHI_TEST_BUILD_DIR/tests/bin/json_check
export CHIMAERA_COMMIT=0123abc

# measure CODE ARGS...: as run; a machine that others use too gives no figures, and is asked again
measure() {
	local code=$1 rc=0
	shift
	for _ in {1..3}; do
		rc=0
		"$bin" --seconds 0.05 "$@" >out 2>err || rc=$?
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
for name in pingpong roundtrip-busy; do
	measure 0 --json $name
	[ "$(wc -l <out)" -eq 1 ] || fail "JSON has more than one line a case"
	line=$(cat out)
	"$json_check" /bench /group /params /unit /n /min /p50 /p99 /p99.9 /max /ratio /reference /spread /placement /pingpong \
		/kept /discarded /commit /cpu /pinned <<<"$line" >values 2>err2 || { cat err2 >&2; fail "$line"; }
	mapfile -t v <values
	[[ ${v[3]} = ns && ${v[11]} = pingpong && ${v[13]} =~ ^(near|far)$ && ${v[15]} -ge 5 ]] || fail "$line"
	awk -v n="${v[4]}" -v min="${v[5]}" -v p50="${v[6]}" -v p99="${v[7]}" -v p999="${v[8]}" -v max="${v[9]}" -v ratio="${v[10]}" \
		'BEGIN { exit !(n > 0 && 0 < min && min <= p50 && p50 <= max && p99 <= p999 && p999 <= max && ratio > 0) }' ||
		fail "figures that cannot be: $line"
done

# ---- what is recorded is compared with
measure 0 --record --ratios ratios.txt fcontext
said '^fcontext (near|far) pingpong ns [0-9.e-]+ [0-9.]+$' ratios.txt
record() {
	printf '# doctored\nfcontext near pingpong ns %s 0.05\nfcontext far pingpong ns %s 0.05\n' "$1" "$1" >ratios.txt
}
record 1000
measure 0 --check --ratios ratios.txt fcontext
[ ! -s err ] || fail "something is said of a ratio that holds"
record 1e-12
measure 1 --check --ratios ratios.txt fcontext
said '^worse: fcontext (near|far), [0-9.e-]+ to pingpong, recorded 1e-12 with a spread of 5%' err
[ "$(grep -c '^fcontext' out)" -eq 2 ] || fail "what is worse is not measured once more"
: >ratios.txt
measure 0 --check --ratios ratios.txt fcontext
said '^no record: fcontext' err
echo 'fcontext near pingpong ns much 0.05' >ratios.txt
run 1 "$bin" --check --ratios ratios.txt fcontext
said '^chimaera-bench: ratios.txt:1: not a case' err

# ---- tables and plots
report=$CHI_TEST_BUILD_DIR/bin/bench_report
printf '#!/bin/sh\ncat >>"%s"\n' "$dir/plots" >gnuplot
chmod +x gnuplot
export PATH=$dir:$PATH
result() {
	printf '{"bench":"%s","group":"g","unit":"%s","p50":%s,"p99":2000,"p99.9":null,"ratio":%s,"spread":0.1,"reference":"pingpong",' "$@"
	printf '"placement":"near","pingpong":150,"kept":5,"discarded":1,"commit":"0123abc","cpu":"a CPU"}\n'
}
{
	result one ns 9999 1
	result two ns 1500 10
	result three bytes 5000 0
	result tasks-1 tasks/s 1e6 0.5
	result tasks-8 tasks/s 4e6 2
	result tasks-64 tasks/s 8e6 4
} >results.json
result one ns 150 1 >later.json
mkdir docs
printf 'before\n%s\nold\n%s\nafter\n' '<!-- figures: ./dev bench --report writes all up to the next mark -->' '<!-- end of the figures -->' \
	>docs/PERFORMANCE.md
run 0 "$report" docs results.json later.json
said '^\| `one` \| 150 ns \| 2.00 µs \|  \| 1.00 pingpong \(10 %\) \| near, 150 ns \| 5 of 6 \|$' docs/PERFORMANCE.md
said '^\| `two` \| 1.50 µs ' docs/PERFORMANCE.md
said '^\| `three` \| 5.00 kB ' docs/PERFORMANCE.md
! grep -q three plots || fail "bytes among latencies"
said '^\| `tasks-8` \| 4.00 M/s ' docs/PERFORMANCE.md
said '^!\[g: latency\]\(performance/g-latency.svg\)$' docs/PERFORMANCE.md
said '^!\[g: rate-by-size\]' docs/PERFORMANCE.md
[ "$(sed -n '1p;$p' docs/PERFORMANCE.md)" = "$(printf 'before\nafter')" ] || fail "what stands around the figures"
! grep -q '^old$' docs/PERFORMANCE.md || fail "the old figures are still there"
said '^"two near" 1500 150$' plots
said '^64 8e\+06$' plots
cp docs/PERFORMANCE.md first
mv plots first-plots
run 0 "$report" docs results.json later.json
cmp first docs/PERFORMANCE.md && cmp first-plots plots || fail "the same results do not give the same page and plots"
echo 'no marks' >docs/PERFORMANCE.md
run 1 "$report" docs results.json
said 'the two marks are not in it' err
echo '{"bench":' >bad.json
run 1 "$report" docs bad.json
run 1 "$report" docs none.json
