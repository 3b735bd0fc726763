#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tool.sh - chimaera start, stop, status as a shell sees them: exit codes, messages, and nothing left behind
set -euo pipefail

chimaera=${CHIMAERA_BIN:?}
dir=${XDG_RUNTIME_DIR:?}
unset CHIMAERA_NAME
bad=0

# expect CODE PATTERN COMMAND...: that exit code, and the pattern in its output
expect() {
	local code=$1 pattern=$2 got=0 out
	shift 2
	out=$("$@" 2>&1) || got=$?
	if [ $got -ne "$code" ] || ! grep -q -- "$pattern" <<<"$out"; then
		echo "$*: exit code $got instead of $code, or no '$pattern' in: $out"
		bad=$((bad + 1))
	fi
}

# start ARG...: a daemon, and wait until it says that it is ready
start() {
	rm -f "$dir/ready"
	mkfifo "$dir/ready"
	"$chimaera" start --foreground "$@" >"$dir/ready" 2>>"$dir/log" &
	daemon=$!
	ready=
	read -r -t 60 ready <"$dir/ready" || true
}

ended() {
	local got=0
	wait "$daemon" || got=$?
	if [ $got -ne "$1" ]; then
		echo "the daemon's exit code: $got instead of $1"
		cat "$dir/log"
		bad=$((bad + 1))
	fi
}

expect 0 'Usage: chimaera' "$chimaera" --help
expect 0 '^chimaera [0-9]*\.[0-9]*\.[0-9]*$' "$chimaera" --version
expect 2 'Usage: chimaera' "$chimaera"
expect 2 "no command 'fly'" "$chimaera" fly
expect 2 'needs --foreground' "$chimaera" start
expect 2 'too much' "$chimaera" start --foreground x
expect 2 'no number' "$chimaera" stop --timeout 1s
expect 0 'seconds' "$chimaera" stop --help
expect 3 'start one with' "$chimaera" status
expect 3 'start --foreground --name other' "$chimaera" stop --name other

printf 'workers:\n  cuont: 2\n' >"$dir/bad.yaml"
expect 1 "bad.yaml:2:3: key 'workers.cuont': there is no such key; is 'workers.count' meant" \
	"$chimaera" start --foreground --config "$dir/bad.yaml"
expect 1 'No such file' "$chimaera" start --foreground --config "$dir/nowhere.yaml"
expect 1 'runtime name' "$chimaera" start --foreground --name a/b

printf 'name: from_file\nworkers: { count: 3 }\n' >"$dir/good.yaml"
start --config "$dir/good.yaml"
if [ "$ready" != "chimaera: ready (from_file, pid $daemon, $dir/chimaera/from_file.sock)" ]; then
	echo "ready said: $ready"
	bad=$((bad + 1))
fi
expect 1 "pid $daemon" "$chimaera" start --foreground --name from_file
expect 3 'no runtime' "$chimaera" status
expect 0 "pid $daemon" "$chimaera" status --name from_file
expect 0 "pid $daemon" "$chimaera" status --name "$dir/chimaera/from_file.sock"
expect 0 "^{\"name\":\"from_file\",\"pid\":$daemon,.*\"worker\":2,.*\"pools\":\[{\"pool\":1,\"name\":\"admin\"" \
	env CHIMAERA_NAME=from_file "$chimaera" status --json
expect 0 'has ended' "$chimaera" stop --name from_file
ended 0

for signal in TERM INT; do
	start
	kill -$signal "$daemon"
	ended 0
done

# killed: who comes next takes the name over
start
kill -KILL "$daemon"
ended 137
expect 3 'start one with' "$chimaera" status
start
expect 0 "pid $daemon" "$chimaera" status
expect 0 'has ended' "$chimaera" stop --timeout 20000
ended 0
[ $bad -eq 0 ]
