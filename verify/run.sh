#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# run.sh - check the models with spin
#
#   run.sh                    every model, every red variant, every place to reach
#   run.sh MODEL              one model with its variants
#   run.sh MODEL:BREAK_x      one variant (or MODEL:REACH_x, MODEL:green)
#
# The variants stand in the head of each model:
#   red   NAME  INVARIANT  text     -DBREAK_NAME must break that invariant, not just anything
#   reach NAME  text                -DREACH_NAME must find the place: the green run was not empty
# Writes below ${BUILD_DIR:-TREE/build/verify}. VERIFY_JOBS (2) run at once.
set -u
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${BUILD_DIR:-$(dirname "$here")/build/verify}
depth_max=10000		# the deepest run needs less than 1,000
memory_max_mb=2500	# of one pan; two run at once
seconds_max=150		# of one pan

# each line: MODEL KIND NAME INVARIANT
list_variants() {
	local model
	for model in "$here"/*.pml; do
		model=$(basename "$model" .pml)
		echo "$model green green -"
		awk -v m="$model" '/^ \*\//{exit} /^ \* red /{print m, "red", $3, $4} /^ \* reach /{print m, "reach", $3, "got_there"}' \
			"$here/$model.pml"
	done
}

# README.md names every fence of src/, and a variant that removes it; prints what is amiss
check_fences() {
	local table variant
	table=$(grep -E '^\| `(src|include)/.*BREAK_' "$here/README.md")
	diff <(grep -rc 'hshm_fence_\(seq_cst\|after_rmw\)();\|SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED' "$here/../src" "$here/../include" | sed 's|.*/\.\./||; /:0$/d' | sort) \
		<(awk -F'`' '{print $2}' <<<"$table" | sort | uniq -c | awk '{print $2 ":" $1}') |
		sed -n 's/^< /fences in the source, not so in README.md: /p; s/^> /fences in README.md, not so in the source: /p'
	for variant in $(grep -o '[a-z_]*:BREAK_[A-Z_]*' <<<"$table"); do
		list_variants | grep -q "^${variant%%:*} red ${variant#*:BREAK_} " || echo "README.md: no variant $variant"
	done
}

# run one variant in a folder of its own and write its line of the table
run_one() {
	local model=$1 kind=$2 name=$3 invariant=$4 define="" opt=-O0 hash=18 dir states text start seconds verdict want got rc
	dir=$out/$model.$kind.$name
	rm -rf "$dir" && mkdir -p "$dir" && cd "$dir" || return 1
	case $kind in
	green) opt=-O2 hash=22 ;;
	red) define=-DBREAK_$name ;;
	reach) define=-DREACH_$name ;;
	esac
	start=$(date +%s.%N)
	# -E: a process that sleeps at the end is no error by itself, the invariants say which may
	(ulimit -v $((memory_max_mb * 1024 + 500000)) -t $seconds_max
	 spin -a ${define:+"$define"} "$here/$model.pml" >spin.out 2>&1 &&
	 cc $opt -w -DSAFETY -DNOFAIR -DCOLLAPSE -DMEMLIM=$memory_max_mb -o pan pan.c >cc.out 2>&1 &&
	 ./pan -E -m$depth_max -w$hash >pan.out 2>&1)
	rc=$?
	seconds=$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN{printf "%.1f", b - a}')
	states=$(awk '/states, stored/{print $1}' pan.out 2>/dev/null)
	got=$(sed -n 's/^pan:[0-9]*: assertion violated  *(*\([a-z_]*\)||.*/\1/p' pan.out 2>/dev/null | head -n 1)
	if grep -q 'Search not completed' pan.out 2>/dev/null && [ -z "$got" ]; then
		got=incomplete
	elif grep -qE 'max search depth too small|out of memory|reached -DMEMLIM' pan.out 2>/dev/null; then
		got=incomplete
	elif [ -z "$states" ]; then
		got="did not run (rc $rc)"
	elif [ -z "$got" ] && ! grep -q 'errors: 0' pan.out; then
		got="another error"
	fi
	case $kind in
	green) want="" ;;
	*) want=$invariant ;;
	esac
	verdict=FAIL
	[ "$got" = "$want" ] && verdict=ok
	case $kind in
	green) text="holds"; [ $verdict = ok ] || text="$got" ;;
	red) text="breaks ${got:-nothing}"; [ $verdict = ok ] || text="$text, expected $want" ;;
	reach) text="reached"; [ $verdict = ok ] || text="not reached${got:+: $got}" ;;
	esac
	printf '%-15s %-6s %-22s %-5s %10s %7s  %s\n' "$model" "$kind" "$name" "$verdict" "${states:--}" "$seconds" "$text" \
		>result
	# what was as expected leaves only its line
	if [ $verdict = ok ]; then
		find . -type f ! -name result -delete
	fi
	[ -t 2 ] && printf '.' >&2
	return 0
}

if [ "${1:-}" = --one ]; then
	shift
	run_one "$@"
	exit
fi

command -v spin >/dev/null || { echo "run.sh: spin is not installed (Debian: apt-get install spin)" >&2; exit 1; }

case ${1:-} in
"") wanted=$(list_variants) ;;
*:green) wanted=$(list_variants | grep "^${1%%:*} green ") ;;
*:BREAK_*) wanted=$(list_variants | grep "^${1%%:*} red ${1#*:BREAK_} ") ;;
*:REACH_*) wanted=$(list_variants | grep "^${1%%:*} reach ${1#*:REACH_} ") ;;
*) wanted=$(list_variants | grep "^$1 ") ;;
esac
if [ -z "$wanted" ]; then
	echo "run.sh: no model or variant '$1'; there are:" >&2
	list_variants | awk '{print "  " $1 ($2 == "red" ? ":BREAK_" $3 : $2 == "reach" ? ":REACH_" $3 : "")}' >&2
	exit 2
fi

mkdir -p "$out" || exit 1
begin=$(date +%s)
# the long ones first, so that no core idles at the end
{ grep ' green ' <<<"$wanted"; grep -v ' green ' <<<"$wanted"; } |
	BUILD_DIR=$out xargs -P "${VERIFY_JOBS:-2}" -L 1 "$BASH" "$here/run.sh" --one
[ -t 2 ] && echo >&2

printf '%-15s %-6s %-22s %-5s %10s %7s\n' model kind variant "" states seconds
passed=0 failed=0
while read -r model kind name _; do
	line=$(cat "$out/$model.$kind.$name/result" 2>/dev/null)
	[ -n "$line" ] || line="$model $kind $name FAIL did not run"
	printf '%s\n' "$line"
	if [[ $line == *" ok "* ]]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "    see $out/$model.$kind.$name: pan.out; 'spin -t -p -g MODEL' there replays a trail"
	fi
done <<<"$wanted"
if [ $# -eq 0 ]; then
	amiss=$(check_fences)
	[ -z "$amiss" ] || { printf '%s\n' "$amiss"; failed=$((failed + 1)); }
fi
echo "time: $(($(date +%s) - begin)) s"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
