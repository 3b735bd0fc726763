#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fuzz/run.sh - run the fuzzers of the preset fuzz, some at once
#
# usage: tests/fuzz/run.sh [--seconds N] [NAME...], by way of ./dev fuzz, which builds them. Each begins with the inputs of
# fuzz/corpus/NAME and with what earlier runs found (build/fuzz/corpus/NAME), for N seconds (30). An input that breaks
# something is kept in build/fuzz/crashes, and the line that runs it again is printed; a leak or a hang counts, too.
set -euo pipefail
cd "$(dirname "$0")/../.."

build=$PWD/build/fuzz
here=tests/fuzz
seconds=30
names=()
while [ $# -gt 0 ]; do
	case $1 in
	--seconds) seconds=${2:?--seconds N} && shift ;;
	--seconds=*) seconds=${1#*=} ;;
	-*) echo "usage: ./dev fuzz [--seconds N] [NAME...]" >&2 && exit 2 ;;
	*) names+=("$1") ;;
	esac
	shift
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "fuzz: '$seconds' is no number of seconds" >&2 && exit 2; }
if [ ${#names[@]} -eq 0 ]; then
	mapfile -t names < <(cd $here && ls ./*_fuzz.c | sed 's,^\./,,; s,_fuzz\.c$,,')
fi
for name in "${names[@]}"; do
	[ -f "$here/${name}_fuzz.c" ] || { echo "fuzz: there is no $here/${name}_fuzz.c" >&2 && exit 2; }
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
crashes=$build/crashes
mkdir -p "$crashes"

# Text needs room. The runtime's own memory, where there is one, is no heap that LeakSanitizer could follow while it runs: leaks
# are looked for after its stop.
options_of() {
	case $1 in
	args) echo -max_len=512 ;;
	config) echo -max_len=2048 ;;
	*) echo -max_len=512 -detect_leaks=0 ;;
	esac
}

run_one() {
	local name=$1 rc=0 options
	mkdir -p "$build/corpus/$name" "$scratch/$name"
	read -ra options < <(options_of "$name")
	TMPDIR=$scratch/$name UBSAN_OPTIONS=print_stacktrace=1 \
		"$build/tests/bin/fuzz_$name" "${options[@]}" -max_total_time="$seconds" -timeout=25 -close_fd_mask=3 \
		-print_funcs=0 -print_final_stats=1 -artifact_prefix="$crashes/$name-" \
		"$build/corpus/$name" "$PWD/$here/corpus/$name" >"$scratch/$name.log" 2>&1 || rc=$?
	[ $rc != 0 ] || [ "$(number stat::number_of_executed_units: "$scratch/$name.log")" -gt 0 ] || rc=none
	echo $rc >"$scratch/$name.rc"
}

# the last number behind a word of the log
number() {
	{ grep -aoE "$1 +[0-9]+" "$2" || echo 0; } | tail -n 1 | grep -oE '[0-9]+$'
}

show() {
	local name=$1 log=$scratch/$1.log rc found
	rc=$(cat "$scratch/$name.rc")
	found=$(sed -n "s,^.*Test unit written to \($crashes/.*\)$,\1,p" "$log" | tr -d '\0')
	printf '%-10s %12s %8s %7s %9s %7s  %s\n' "$name" "$(number stat::number_of_executed_units: "$log")" \
		"$(number stat::average_exec_per_sec: "$log")" "$(number cov: "$log")" "$(number ft: "$log")" \
		"$(number corp: "$log")" "$([ "$rc" = 0 ] && echo clean || echo FAILED)"
	[ "$rc" != 0 ] || return 0
	grep -avE '^#[0-9]' "$log" | tail -n 60
	[ -z "$found" ] || echo "again: build/fuzz/tests/bin/fuzz_$name ${found#"$PWD"/}"
}

printf '%-10s %12s %8s %7s %9s %7s\n' fuzzer executions a-second edges features corpus
at_once=$(($(nproc) + 1))
passed=0
failed=0
for name in "${names[@]}"; do
	while [ "$(jobs -rp | wc -l)" -ge $at_once ]; do
		wait -n || true
	done
	run_one "$name" &
done
wait
for name in "${names[@]}"; do
	show "$name"
	[ "$(cat "$scratch/$name.rc")" = 0 ] && passed=$((passed + 1)) || failed=$((failed + 1))
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
