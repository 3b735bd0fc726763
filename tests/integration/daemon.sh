#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# daemon.sh - chimaera start, status, stop: what a shell sees of them
set -u

bin=${CHIMAERA_BIN:?}
archive=${ARCHIVE_BIN:?}
dir=${XDG_RUNTIME_DIR:?}
cd "$dir" || exit 1
unset CHIMAERA_NAME

fail() {
	echo "daemon.sh:${BASH_LINENO[0]}: $*" >&2
	[ ! -s err ] || sed 's/^/    stderr: /' err >&2
	[ ! -s out ] || sed 's/^/    stdout: /' out >&2
	[ -z "${daemon_pid:-}" ] || kill -KILL "$daemon_pid" 2>/dev/null
	exit 1
}

# run CODE COMMAND...: its exit code has to be CODE; what it writes is in out and err
run() {
	local wanted=$1 code=0
	shift
	"$@" >out 2>err || code=$?
	[ "$code" -eq "$wanted" ] || fail "$* ended with $code, not $wanted"
}

said() {
	grep -qE -- "$1" "$2" || fail "'$1' is not in $2"
}

# start_daemon ARGUMENT...: it says itself when it is ready
start_daemon() {
	rm -f ready daemon.log
	mkfifo ready
	"$bin" start --foreground "$@" >ready 2>daemon.log &
	daemon_pid=$!
	read -r line <ready || fail "no line from the daemon: $(cat daemon.log)"
	[[ $line == *ready* ]] || fail "the daemon said: $line"
}

# await_end CODE
await_end() {
	local code=0
	wait "$daemon_pid" || code=$?
	[ "$code" -eq "$1" ] || fail "the daemon ended with $code, not $1: $(cat daemon.log)"
	daemon_pid=
}

# ---- there is none
run 3 "$bin" status
said "chimaera start --foreground" err
run 3 "$bin" stop
said "chimaera start --foreground" err
run 3 "$archive" ls
said "chimaera start" err

# ---- wrong usage
run 2 "$bin"
run 2 "$bin" frobnicate
said "frobnicate" err
run 2 "$bin" start
said "needs --foreground" err
run 2 "$bin" status --no-such-option
run 2 "$bin" status superfluous
run 2 "$bin" stop --timeout=-1
run 0 "$bin" --help
said "status" out
run 0 "$bin" start --help
run 0 "$bin" --version

# ---- a bad configuration: exit code, file, line, key
bad_config() {
	printf '%b' "$1" >bad.yaml
	run 1 "$bin" start --foreground --config bad.yaml
	said "$2" err
}
bad_config 'workers:\n  count: 1\n  cuont: 2\n' 'bad\.yaml:3:.*workers\.cuont'
bad_config 'workers:\n  count: many\n' 'bad\.yaml:2:.*workers\.count'
bad_config 'clients: { lane_depth: 3 }\n' 'bad\.yaml:1:.*clients\.lane_depth'
bad_config 'name: "a/b"\n' 'bad\.yaml:1:.*name'
bad_config 'workers: [' 'bad\.yaml'
run 1 "$bin" start --foreground --config missing.yaml
said "missing\.yaml: No such file" err
run 1 "$bin" start --foreground --config "$dir"
said "folder" err
[ -z "$(find "$dir" -type s)" ] || fail "a start that failed left a socket"

# ---- status, as tables and as JSON
printf 'workers: { count: 2 }\nmemory: { private_mib: 256 }\n' >good.yaml
start_daemon --config good.yaml
run 0 "$bin" status
said "runtime 'default' +pid $daemon_pid " out
said "^tasks +[0-9]+ +[0-9]+ " out
said "^1 +admin +admin +1 " out
run 0 "$bin" status --json
[ "$(wc -l <out)" -eq 1 ] || fail "more than one line of JSON"
if command -v python3 >/dev/null; then
	python3 - "$daemon_pid" <<-'PYTHON' || fail "the JSON is not what it should be"
		import json, sys
		status = json.load(open("out"))
		assert status["pid"] == int(sys.argv[1])
		assert [worker["worker"] for worker in status["workers"]] == [0, 1]
		assert sum(worker["tasks"] for worker in status["workers"]) >= 1
		assert [pool["name"] for pool in status["pools"]] == ["admin"]
	PYTHON
else
	said "\"pid\":$daemon_pid,.*\"name\":\"admin\"" out
fi
[ "$(stat -c %a "$dir/chimaera")" = 700 ] || fail "others may enter the socket's folder"
[ "$(stat -c %a "$dir/chimaera/default.sock")" = 600 ] || fail "others may connect"

# ---- a second start of that name; another name is another runtime
run 1 "$bin" start --foreground --config good.yaml
said "lives at .*default\.sock already \(pid $daemon_pid\)" err
run 0 "$bin" status
first_pid=$daemon_pid
start_daemon --config good.yaml --name other
run 0 "$bin" status --name other
said "runtime 'other' +pid $daemon_pid " out
CHIMAERA_NAME=other run 0 "$bin" stop
said "has ended" out
await_end 0
run 3 "$bin" status --name other
daemon_pid=$first_pid
run 0 "$bin" status

# ---- stop: it has ended when stop returns
run 0 "$bin" stop
await_end 0
run 3 "$bin" status
run 3 "$bin" stop

# ---- SIGTERM in the middle of work: what is in flight ends, the client is told the rest
mkdir files
for i in {1..40}; do
	head -c 300000 /dev/urandom >"files/$i"
done
start_daemon --config good.yaml
"$archive" put files >put.out 2>put.err &
put_pid=$!
for ((i = 0; i < 500; i++)); do
	"$bin" status --json | grep -q '"name":"compress"' && break
	kill -0 "$put_pid" 2>/dev/null || break
done
kill -TERM "$daemon_pid"
await_end 0
put_code=0
wait "$put_pid" || put_code=$?
# the work was done before, or the end was told: never a signal, never a hang
[ $put_code -lt 126 ] || fail "archive put ended with $put_code: $(cat put.err)"
[ $put_code -eq 0 ] || [ -s put.err ] || fail "archive put said nothing"
run 3 "$bin" status

# ---- SIGINT does the same; and what a killed one left is no hindrance
start_daemon --config good.yaml
kill -INT "$daemon_pid"
await_end 0
start_daemon --config good.yaml
kill -KILL "$daemon_pid"
await_end 137
run 3 "$bin" status
said "is gone" err
start_daemon --config good.yaml
run 0 "$bin" status
said "pid $daemon_pid " out

# ---- a frozen daemon: stop does not wait for ever
kill -STOP "$daemon_pid"
run 1 timeout 20 "$bin" stop --timeout 300
kill -CONT "$daemon_pid"
run 0 "$bin" stop
await_end 0
[ -z "$(find "$dir" -type s)" ] || fail "a socket is left"
