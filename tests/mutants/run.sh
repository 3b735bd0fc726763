#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# mutants/run.sh - see that the tests see: break the code as each patch says, and require its test to turn red
#
# usage: tests/mutants/run.sh [--full] [NAME...], by way of ./dev mutants. A patch starts with
#   # test: hshm_mpsc_queue        the ctest name; or verify:MODEL, for verify/run.sh MODEL
#   # breaks: what the patch does, in a sentence
#   # preset: tsan                 optional; else dev
#   # full: 40 s                   optional: how long it takes; only with --full, or by its name
# A weakened order shows by luck: a test that stays green is run again, TRIES times in all. What failed is listed at the end.
# Works in copies of the tree (build/mutants/w0, w1), each with its own incremental builds; the tree itself is not touched.
# A patch that does not apply or does not compile fails, as does a test that is red without the patch.
set -euo pipefail
cd "$(dirname "$0")/../.."

source=$PWD
base=$source/build/mutants
cpus=$(nproc)
export CHI_FAULT_FIRST=1 # fault_each_call: all calls, until one is not as it should be
export CHI_SIMULATE_SEEDS=15000 # model_simulate: as many as CI; which seed shows a break differs with every change of the code
readonly TRIES=3
workers=$((cpus < 2 ? 1 : 2))
jobs=$((cpus / workers))

field() {
	sed -n "/^--- /q; s/^# $1: *//p" "$2" | head -1
}

list_files() {
	(cd "$1" && find . \( -path ./build -o -path ./.git \) -prune -o \( -type f -o -type l \) -print)
}

# Bring a copy up to date. Only what differs is written: what a mutant changed and was put back has a new time, and has to
# keep it, or its mutated object would pass for fresh.
sync_copy() {
	local copy=$1 file
	mkdir -p "$copy"
	while IFS= read -r file; do
		cmp -s "$source/$file" "$copy/$file" && continue
		mkdir -p "$copy/${file%/*}"
		cp -P "$source/$file" "$copy/$file"
		[ ! -x "$source/$file" ] || chmod +x "$copy/$file"
	done < <(list_files "$source")
	comm -13 <(list_files "$source" | sort) <(list_files "$copy" | sort) | while IFS= read -r file; do
		rm -f "$copy/$file"
	done
}

# the files a patch touches, from the source again
revert() {
	local copy=$1 file
	sed -nE 's#^(---|\+\+\+) [ab]/([^\t]*).*#\2#p' "$2" | sort -u | while IFS= read -r file; do
		if [ -e "$source/$file" ]; then
			cp "$source/$file" "$copy/$file"
		else
			rm -f "$copy/$file"
		fi
		rm -f "$copy/$file.rej" "$copy/$file.orig"
	done
}

# build_one COPY PRESET TEST
build_one() {
	[[ $3 != verify:* ]] || return 0
	cd "$1"
	[ -f "build/$2/build.ninja" ] || cmake --preset "$2" || return
	cmake --build "build/$2" -j "$jobs" --target "$3" -- --quiet
}

# run_one COPY PRESET TEST SECONDS: 0 green, 1 red, 2 trouble, 3 there is no such test, 4 it took longer: many hang
run_one() {
	local copy=$1 preset=$2 test=$3 prefix=(timeout --kill-after=10 "$4") out rc=0
	cd "$copy"
	if [[ $test == verify:* ]]; then
		# 1 is a violated property; anything else is trouble with the model itself
		verify/run.sh "${test#verify:}" && return 0 || { [ $? -eq 1 ] && return 1 || return 2; }
	fi
	[ "$preset" != tsan ] || ! setarch "$(uname -m)" -R true 2>/dev/null || prefix+=(setarch "$(uname -m)" -R)
	out=$("${prefix[@]}" ctest --test-dir "build/$preset" -R "^$test\$" --no-tests=error --output-on-failure 2>&1) || rc=$?
	echo "$out"
	[ $rc -ne 0 ] || return 0
	grep -qE 'No tests were found|\*\*\*Not Run' <<<"$out" && return 3
	# by timeout, or by ctest's own limit
	if [ $rc -ge 124 ] || grep -q '\*\*\*Timeout' <<<"$out"; then return 4; fi
	return 1
}

# green_before COPY PRESET TEST: the test passes as long as nothing is broken; asked once a run, and remembers how long it took.
# Beside another worker's builds: one that is red is run again, TRIES times in all (that it is steady is for ctest to see).
green_before() {
	local mark=$base/green/$2.${3//[:\/]/_} begin try
	# the models have their own group, and some take minutes
	[[ $3 != verify:* ]] || return 0
	[ ! -e "$mark" ] || return 0
	build_one "$@" || return 1
	for ((try = 1; try <= TRIES; try++)); do
		begin=$SECONDS
		if (run_one "$@" 300); then
			echo $((SECONDS - begin)) >"$mark"
			return 0
		fi
		echo "== red without the patch, try $try"
	done
	return 1
}

# how long a broken one may take: many hang
limit_for() {
	local mark=$base/green/$1.${2//[:\/]/_}
	[ ! -e "$mark" ] || echo $((10 + 2 * $(cat "$mark")))
}

# try_all COPY PRESET TEST: as run_one; a model gives the same answer each time
try_all() {
	local try rc=0
	for ((try = 0; try < TRIES; try++)); do
		rc=0
		echo "== try $((try + 1))"
		(run_one "$@" "$(limit_for "$2" "$3")") || rc=$?
		[ $rc -eq 0 ] && [[ $3 != verify:* ]] || break
	done
	return $rc
}

# verdict COPY PATCH: one sentence; "red" and "hangs" are the good ones
verdict() {
	local copy=$1 patch=$2 test preset log rc=0
	test=$(field test "$patch")
	preset=$(field preset "$patch")
	preset=${preset:-dev}
	[ -n "$test" ] && [ -n "$(field breaks "$patch")" ] || {
		echo "has no '# test:' or '# breaks:' line"
		return
	}
	log=$base/log/$(basename "$patch" .patch)
	(green_before "$copy" "$preset" "$test") >"$log.before" 2>&1 || {
		echo "without it there is no green test $test (.before)"
		return
	}
	if ! patch -d "$copy" -p1 --force --no-backup-if-mismatch <"$patch" >"$log" 2>&1; then
		echo "does not apply"
	elif ! (build_one "$copy" "$preset" "$test") >>"$log" 2>&1; then
		echo "does not build"
	else
		try_all "$copy" "$preset" "$test" >>"$log" 2>&1 || rc=$?
		case $rc in
		0) echo "survives: the test stays green, $TRIES times" ;;
		1) echo "red" ;;
		2) echo "the model does not run" ;;
		3) echo "there is no test $test" ;;
		4) echo "hangs" ;;
		esac
	fi
	revert "$copy" "$patch"
}

worker() {
	local copy=$base/w$1 patch name result text begin seconds index
	sync_copy "$copy"
	while true; do
		index=$(flock "$base/next" sh -c 'n=$(cat "$1"); echo $((n + 1)) >"$1"; echo "$n"' sh "$base/next")
		[ "$index" -lt ${#patches[@]} ] || break
		patch=${patches[$index]}
		name=$(basename "$patch" .patch)
		begin=${EPOCHREALTIME/./}
		result=$(verdict "$copy" "$patch")
		seconds=$(((${EPOCHREALTIME/./} - begin) / 100000))
		text="$result (build/mutants/log/$name)"
		case $result in
		red | hangs)
			touch "$base/passed/$name"
			text=$(field breaks "$patch")
			;;
		*) result=FAILED ;;
		esac
		printf '%-7s %-36s %-28s %5s s  %s\n' "$result" "$name" "$(field test "$patch")" \
			"$((seconds / 10)).$((seconds % 10))" "$text" | tee -a "$base/lines"
	done
}

full=
if [ "${1:-}" = --full ]; then
	full=yes
	shift
fi
patches=()
left_out=0
for name; do
	patches+=("$source/tests/mutants/$(basename "$name" .patch).patch")
done
if [ $# -eq 0 ]; then
	for patch in "$source"/tests/mutants/*.patch; do
		if [ -z "$full" ] && [ -n "$(field full "$patch")" ]; then
			left_out=$((left_out + 1))
		else
			patches+=("$patch")
		fi
	done
fi
for patch in "${patches[@]}"; do
	[ -f "$patch" ] || {
		echo "no patch ${patch#"$source"/}" >&2
		exit 2
	}
done

mkdir -p "$base"
rm -rf "$base/green" "$base/passed" "$base/log"
mkdir "$base/green" "$base/passed" "$base/log"
echo 0 >"$base/next"
: >"$base/lines"
printf '%-7s %-36s %-28s %7s  %s\n' result patch test time breaks
pids=()
for ((w = 0; w < workers && w < ${#patches[@]}; w++)); do
	worker $w &
	pids+=($!)
done
trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
for pid in "${pids[@]}"; do
	wait "$pid" || true
done

grep '^FAILED' "$base/lines" || true
passed=$(find "$base/passed" -type f | wc -l)
failed=$((${#patches[@]} - passed))
hang=$(grep -c '^hangs' "$base/lines" || true)
[ "$hang" -eq 0 ] || echo "$hang by their time alone (hangs): a test that stays green, but slowly, looks the same"
[ $left_out -eq 0 ] || echo "$left_out slow ones were left out: --full runs them, too"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
