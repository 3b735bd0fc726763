#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# instructions/run.sh - how many instructions a task costs its worker: alone, and among many lanes or blocked tasks
#
# usage: bench/instructions/run.sh BUILD [--json|--record], by way of ./dev bench instructions. BUILD: a build with
# CHIMAERA_INSTRUCTIONS. Counted by valgrind's callgrind, in the worker's thread, its loop and all: the same again but for one
# in a thousand, also beside other work. A ratio is to the first of its kind, and aims at AIM. What got worse by more than
# SLACK than what is recorded beside this script, for this compiler, fails.
# Exit status: 0, 1 a count is missing, not recorded or worse, 64 bad usage, 77 there are no two CPUs.
set -euo pipefail

readonly AIM=1.10 SLACK=1.02
readonly N_TASKS=120000
readonly recorded=${0%/*}/counts.txt

usage() {
	echo "usage: ./dev bench instructions [--json|--record]" >&2
	exit 64
}

[ $# -eq 1 ] || [[ $# -eq 2 && ($2 == --json || $2 == --record) ]] || usage
build=$1
how=${2:-}
if [ "$(nproc)" -lt 2 ]; then
	echo "two CPUs are needed: on one alone no worker looks for work for long, and it has other instructions" >&2
	exit 77
fi
export CHI_REPO_PATH=$build/bench
out=$(mktemp -d)
trap 'rm -rf "$out" "$out.new"' EXIT
cc=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")
compiler=$("$cc" --version | sed -n "1s/^[^ ]* //p") # whatever it is called by
is_recorded=
[ "$(sed -n 1p "$recorded")" != "# $compiler" ] || is_recorded=yes
n_worse=0

# count N ARG...: runs that load; the N counts that its worker wrote, a line each
count() {
	local n=$1 totals
	shift
	rm -f "$out"/*
	if ! valgrind --tool=callgrind --fair-sched=yes --separate-threads=yes --callgrind-out-file="$out/count" \
		"$build/bench/chimaera-bench-load" "$@" >"$out/log" 2>&1; then
		cat "$out/log" >&2
		return 1
	fi
	# the worker's requests have numbers; the other files tell of whole threads
	totals=$(cat "$out"/count.* | sed -nE 's/^totals: ([1-9][0-9]*)$/\1/p')
	if [ "$(grep -c . <<<"$totals")" -ne "$n" ]; then
		echo "$n counts of '$*' are wanted, there is: $totals" >&2
		return 1
	fi
	echo "$totals"
}

# compare KIND N COUNT: what is recorded, and whether that is less
compare() {
	local was
	was=$(awk -v kind="$1" -v n="$2" '$1 == kind && $2 == n { print $3 }' "$recorded")
	awk -v count="$3" -v was="${was:-0}" -v slack="$SLACK" \
		'BEGIN { print was, (was == 0 ? "unknown" : count > was * slack ? "WORSE" : "holds") }'
}

# show KIND N COUNT FIRST
show() {
	local figures is_met was=- verdict=-
	figures=$(awk -v count="$3" -v first="$4" 'BEGIN { printf "%.1f %.3f", count, count / first }')
	is_met=$(awk -v count="$3" -v first="$4" -v aim="$AIM" 'BEGIN { print count / first <= aim ? "true" : "false" }')
	[ -z "$is_recorded" ] || read -r was verdict < <(compare "$1" "$2" "${figures% *}")
	[[ $verdict != WORSE && $verdict != unknown ]] || n_worse=$((n_worse + 1))
	case $how in
	--json)
		printf '{"bench":"instructions-%s-%s","unit":"instructions","p50":%s,"ratio":%s,"reference":"%s","aim":"<= %s","aim_met":%s}\n' \
			"$1" "$2" $figures "instructions-$1-1" "$AIM" "$is_met"
		;;
	--record) printf '%s %s %s\n' "$1" "$2" "${figures% *}" ;;
	*) printf '%-8s %8s %10s %8s %6s %10s  %s\n' "$1" "$2" $figures "$([ "$is_met" = true ] && echo met || echo missed)" \
		"$was" "$verdict" ;;
	esac
}

# tasks KIND LANES...: each task of its own
tasks() {
	local kind=$1 n_lanes total each first=
	for n_lanes in "${@:2}"; do
		total=$(count 1 tasks "$N_TASKS" "$n_lanes" "$kind")
		each=$(awk -v n="$N_TASKS" -v total="$total" 'BEGIN { print total / n }')
		show "$kind" "$n_lanes" "$each" "${first:=$each}"
	done
}

# waits KIND TASKS...: a wait is what the second count has more than the first, with three times as many of them
waits() {
	local kind=$1 n_tasks n_waits totals each first=
	for n_tasks in "${@:2}"; do
		n_waits=$((n_tasks < 1000 ? 1000 / n_tasks : 1))
		totals=$(count 2 waits "$n_waits" "$n_tasks")
		each=$(awk -v n=$((2 * n_waits * n_tasks)) 'NR == 1 { less = $1 } NR == 2 { print ($1 - less) / n }' <<<"$totals")
		show "$kind" "$n_tasks" "$each" "${first:=$each}"
	done
}

all() {
	tasks one 1 1000 100000
	tasks turns 1 2 1000 10000 100000
	tasks keys 1 1000 10000 100000
	waits waits 1 64 1000 10000 100000
}

case $how in
--record)
	{
		echo "# $compiler"
		all
	} >"$out.new"
	mv "$out.new" "$recorded"
	cat "$recorded"
	exit
	;;
"")
	cat <<-END
		Instructions of the worker. one, turns, keys: a client's task, all of them for the same lane, for each lane in its turn, or
		by keys; of so many lanes. waits: a wait for a subtask that is submitted, with so many tasks blocked at once.

	END
	[ -n "$is_recorded" ] || printf 'Nothing is recorded with this compiler: %s\n\n' "$compiler"
	printf '%-8s %8s %10s %8s %6s %10s\n' what of count ratio "$AIM" recorded
	;;
esac
all
if [ "$n_worse" -gt 0 ]; then
	echo "$n_worse are worse by more than $SLACK, or not recorded; if that is right: ./dev bench instructions --record" >&2
	exit 1
fi
