#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# instructions/run.sh - how many instructions a task costs its worker: alone, and among many lanes or blocked tasks
#
# usage: bench/instructions/run.sh BUILD [--json], by way of ./dev bench instructions. BUILD: a build with CHIMAERA_INSTRUCTIONS.
# Counted by valgrind's callgrind, in the worker's thread, its loop and all: the same again in every run but for some in a
# thousand, wherever it runs, and so comparable between commits with the same compiler. A ratio is to the first of its kind,
# and is to be AIM at most.
# Exit status: 0, 1 a count is missing or a ratio is too high, 64 bad usage.
set -euo pipefail

readonly AIM=1.10
readonly N_TASKS=120000
build=$1
json=
case "${*:2}" in
"") ;;
--json) json=yes ;;
*)
	echo "usage: ./dev bench instructions [--json]" >&2
	exit 64
	;;
esac
export CHI_REPO_PATH=$build/bench
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
n_failed=0

# count ARG...: runs that load; the counts that its worker wrote, a line each
count() {
	local file
	rm -f "$out"/*
	if ! valgrind --tool=callgrind --fair-sched=yes --separate-threads=yes --callgrind-out-file="$out/count" \
		"$build/bench/chimaera-bench-load" "$@" >"$out/log" 2>&1; then
		cat "$out/log" >&2
		return 1
	fi
	# the worker's requests have numbers; the other files tell of whole threads
	for file in "$out"/count.*; do
		if [ ! -e "$file" ]; then
			echo "no counts of: $*" >&2
			return 1
		fi
		sed -n 's/^totals: //p' "$file"
	done
}

# show KIND N COUNT FIRST
show() {
	local verdict
	verdict=$(awk -v count="$3" -v first="$4" -v aim="$AIM" 'BEGIN {
		printf "%.1f %.3f %s", count, count / first, count / first <= aim ? "met" : "missed" }')
	# shellcheck disable=SC2086
	set -- "$1" "$2" $verdict
	[ "$5" = met ] || n_failed=$((n_failed + 1))
	if [ -n "$json" ]; then
		printf '{"bench":"instructions-%s-%s","unit":"instructions","p50":%s,"ratio":%s,"reference":"instructions-%s-1","aim":"<= %s","aim_met":%s}\n' \
			"$1" "$2" "$3" "$4" "$1" "$AIM" "$([ "$5" = met ] && echo true || echo false)"
	else
		printf '%-8s %8s %10s %8s  %s\n' "$@"
	fi
}

# tasks KIND LANES...: each task of its own
tasks() {
	local kind=$1 n_lanes counts first=
	for n_lanes in "${@:2}"; do
		counts=$(count tasks "$N_TASKS" "$n_lanes" "$kind")
		counts=$(awk -v n="$N_TASKS" '{ print $1 / n }' <<<"$counts")
		show "$kind" "$n_lanes" "$counts" "${first:=$counts}"
	done
}

# waits TASKS...: a wait is what the second count has more than the first, with three times as many of them
waits() {
	local n_tasks n_waits counts first=
	for n_tasks in "$@"; do
		n_waits=$((n_tasks < 1000 ? 1000 / n_tasks : 1))
		counts=$(count waits "$n_waits" "$n_tasks")
		counts=$(awk -v n=$((2 * n_waits * n_tasks)) 'NR == 1 { less = $1 } NR == 2 { print ($1 - less) / n }' <<<"$counts")
		show waits "$n_tasks" "$counts" "${first:=$counts}"
	done
}

if [ -z "$json" ]; then
	cat <<-END
		Instructions of the worker. one, turns, keys: a client's task, all of them for the same lane, for each lane in its turn, or
		by keys; of so many lanes. waits: a wait for a subtask that is submitted, with so many tasks blocked at once.

	END
	printf '%-8s %8s %10s %8s  %s\n' what of count ratio "aim $AIM"
fi
tasks one 1 1000 100000
tasks turns 1 2 1000 10000 100000
tasks keys 1 1000 10000 100000
waits 1 64 1000 10000 100000
[ "$n_failed" -eq 0 ]
