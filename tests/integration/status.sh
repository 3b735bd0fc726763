#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# status.sh - chimaera status of a daemon that lives, is stopped by a signal, was killed; of a file that is cut, rubbish, gone
. "${CHI_TEST_SOURCE_DIR:?}/tests/support/tool.bash"

archive=${ARCHIVE_BIN:?}
json_check=${CHI_TEST_BUILD_DIR:?}/tests/bin/json_check
counters=$dir/chimaera/default.counters

# json POINTER VALUE: what status says in JSON there
json() {
	local found
	"$json_check" "$1" <out >value 2>err || fail "$1 in what status --json printed"
	found=$(cat value)
	[ "$found" = "$2" ] || fail "$1 is '$found', not '$2'"
}

mkdir files
for i in {1..10}; do
	head -c 5000 /dev/urandom >"files/$i"
done

# ---- a living one
start_daemon --set workers.count=2
run 0 "$archive" put files
run 0 "$bin" status
said "^runtime 'default'  pid $daemon_pid  running  since [0-9-]+ [0-9:]+, up [0-9.]+ s" out
said '^worker +state ' out
said '^[0-9]+ +archive +blob ' out
said '^archive\.put +10 ' out
for table in runtime workers pools methods clients lanes; do
	run 0 "$bin" status $table
done
run 0 "$bin" status workers
said '^tasks_in_place .* run at once' out
run 0 "$bin" status pools
said '^pool +name +module +containers ' out
run 0 "$bin" status --json
[ "$(wc -l <out)" -eq 1 ] || fail "JSON has more than one line"
json /name default
json /pid "$daemon_pid"
json /state running
json /file "$counters"
json /workers/1/worker 1
json /pools/0/name admin
json /clients_attached 1
run 0 "$bin" status --json pools
json /pools/1/module blob
"$json_check" /workers <out 2>err && fail "other tables than the one asked for"

# ---- again and again, until its end
mkfifo watched
"$bin" status --watch 0.1 --json pools >watched 2>err &
watch_pid=$!
exec 3<watched
read -r -t 20 -u 3 first && read -r -t 20 -u 3 second || fail "status --watch shows nothing"
"$json_check" /state <<<"$first" >/dev/null || fail "$first"
"$json_check" /state <<<"$second" >/dev/null || fail "$second"
exec 3<&-
wait $watch_pid # whoever it shows it to has gone
# 2^32 us and a little more is no short time
mkfifo rarely
"$bin" status --watch 4294.968 --json pools >rarely 2>err &
watch_pid=$!
exec 3<rarely
read -r -t 20 -u 3 first || fail "status --watch shows nothing"
read -r -t 1 -u 3 second && fail "status --watch 4294.968 does not wait so long"
exec 3<&-
kill $watch_pid
wait $watch_pid || true
run 2 "$bin" status --watch 0
said "no number of seconds" err
run 2 "$bin" status pools lanes
said "unexpected argument 'lanes'" err

# ---- it does not have to answer
freeze_daemon
run 0 timeout 10 "$bin" status
said "pid $daemon_pid  stopped by a signal " out
run 0 timeout 10 "$bin" status --json
json /state 'stopped by a signal'
kill -CONT "$daemon_pid"

# ---- its figures outlive it
kill -KILL "$daemon_pid"
await_end 137
run 3 "$bin" status
said "pid [0-9]+  ended  since .* was up " out
said '^archive\.put +10 ' out
said "is gone: its process \(pid [0-9]+\) has ended out of order" err
run 3 "$bin" status --json
json /state ended
run 3 "$bin" status --watch 0.1 methods
said '^[0-9]+ +[0-9]+ +put ' out

# ---- what is left is replaced, and goes in the end
touch "$counters.new"
start_daemon
[ ! -e "$counters.new" ] || fail "what a start left is still there"
run 0 "$bin" status
said "pid $daemon_pid  running " out
[ "$(stat -c %a "$counters")" = 600 ] || fail "others may read the counters"
run 1 "$bin" start --foreground
said "a runtime lives at .* already" err
run 0 "$bin" status
said "pid $daemon_pid  running " out

# ---- files that are none
cp "$counters" kept
head -c 5000 kept >chimaera/cut.counters
: >chimaera/cut.sock
run 1 "$bin" status --name "$dir/chimaera/cut.sock"
said "somebody has cut it" err
head -c 100 kept >chimaera/cut.counters
run 1 "$bin" status --name "$dir/chimaera/cut.sock"
head -c 600000 /dev/urandom >chimaera/cut.counters
run 1 "$bin" status --name "$dir/chimaera/cut.sock"
said "cut\.counters is no counters file" err
cp kept chimaera/cut.counters
printf '\377' | dd of=chimaera/cut.counters bs=1 seek=24 conv=notrunc status=none
run 1 "$bin" status --name "$dir/chimaera/cut.sock"
said "of another release" err
rm chimaera/cut.*

# ---- somebody removes the file of a living one: it is told from an absent runtime
rm "$counters"
run 1 "$bin" status
said "runtime 'default' runs, but somebody has removed its counters file" err
run 0 "$bin" stop
await_end 0
run 3 "$bin" status
said "chimaera start$" err

# ---- no room for it
if unshare -rm true 2>/dev/null; then
	mkdir -m 700 small
	run 1 unshare -rm sh -c 'mount -t tmpfs -o size=64k,mode=700 small small &&
		XDG_RUNTIME_DIR=$PWD/small exec "$0" start --foreground' "$bin"
	said "^chimaera: cannot start: .*default\.counters\.new: no room for [0-9]+ bytes of counters: No space left" err
fi
[ -z "$(find "$dir" -type s -o -name '*.counters*')" ] || fail "a socket or a counters file is left"
