#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# daemon.sh - the life of a daemon as a shell sees it: start, status, stop, signals, death (tool.sh: what needs none)
. "${CHI_TEST_SOURCE_DIR:?}/tests/support/tool.bash"
archive=${ARCHIVE_BIN:?}

# ---- a start; more about status: status.sh
printf 'workers: { count: 2 }\nmemory: { private_mib: 256 }\n' >good.yaml
start_daemon --config good.yaml
[ "$line" = "chimaera: ready (default, pid $daemon_pid, $dir/chimaera/default.sock)" ] || fail "it said: $line"
run 0 "$bin" status
said "runtime 'default' +pid $daemon_pid " out
said "^1 +admin +admin +1 " out
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
run 0 "$bin" status --name "$dir/chimaera/other.sock"
said "pid $daemon_pid " out
CHIMAERA_NAME=other run 0 "$bin" stop
said "has ended" out
await_end 0
run 3 "$bin" status --name other
daemon_pid=$first_pid
run 0 "$bin" status

# ---- the file's name counts, the option's before it
printf 'name: from_file\n' >named.yaml
start_daemon --config named.yaml
run 0 "$bin" status --name from_file
said "pid $daemon_pid " out
run 0 "$bin" stop --name from_file
await_end 0
daemon_pid=$first_pid

# ---- pools of the configuration are there when it is ready; one that cannot be made ends the start, and nothing stays
cat >pools.yaml <<-'EOF'
	name: composed
	memory: { private_mib: 256 }
	compose:
	  - { module: compress }
	  - module: blob
	    name: cache
	    containers: 4
EOF
start_daemon --config pools.yaml
run 0 "$bin" status --name composed
said '^[0-9]+ +compress +compress +1 ' out
said '^[0-9]+ +cache +blob +4 ' out
run 0 "$bin" stop --name composed
await_end 0
daemon_pid=
sed -i 's/module: blob/module: nowhere/' pools.yaml
run 1 "$bin" start --foreground --config pools.yaml
said "cannot start: pools\.yaml:5:5: pool 'cache': module 'nowhere': no chimaera_nowhere\.so in" err
run 3 "$bin" status --name composed
run 1 "$bin" start --foreground --name composed --set 'compose=[{module: compress}, {module: compress}]'
said "cannot start: --set compose: pool 'compress': pool 'compress' is there already" err
daemon_pid=$first_pid

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
freeze_daemon
run 1 timeout 20 "$bin" stop --timeout 300
said "\(pid $daemon_pid\) does not answer within 1 s" err
kill -CONT "$daemon_pid"
run 0 "$bin" stop
await_end 0

# ---- somebody cuts its counters file: it goes on, and is told
start_daemon --config good.yaml
counters=$(find "$dir" -name '*.counters')
truncate -s 0 "$counters"
run 0 "$archive" put files
said "cut the counters file" daemon.log
run 0 "$bin" stop
await_end 0
[ -z "$(find "$dir" -type s -o -name '*.counters*')" ] || fail "a socket or a counters file is left"
