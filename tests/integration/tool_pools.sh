#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tool_pools.sh - chimaera pool, with a daemon; chimaera module, without one
. "${CHI_TEST_SOURCE_DIR:?}/tests/support/tool.bash"

modules=${CHI_TEST_BUILD_DIR:?}/modules
bad_modules=$CHI_TEST_BUILD_DIR/tests/modules

# ---- wrong usage; no daemon
for command in pool module; do
	run 2 "$bin" $command
	said "^Usage: chimaera $command COMMAND" err
	run 2 "$bin" $command fly
	said "^chimaera $command: there is no command 'fly'" err
	run 0 "$bin" $command --help
	run 0 "$bin" $command --version
	said '^chimaera [0-9]' out
done
for command in "pool create" "pool destroy" "module check"; do
	# the two words of a command
	# shellcheck disable=SC2086
	run 2 "$bin" $command
	said "Usage: chimaera $command" err
done
run 2 "$bin" pool create blob cache more
said "unexpected argument 'more'" err
run 2 "$bin" pool create blob --containers 0
said "'0' is no number from 1 to 1024" err
run 2 "$bin" pool create blob --containers 2x
run 2 "$bin" pool create blob --containers 4294967297
said "'4294967297' is no number from 1 to 1024" err
run 2 "$bin" pool list --timeout 0
run 2 "$bin" pool list superfluous
run 3 "$bin" pool list
run 3 "$bin" pool create blob
run 3 "$bin" pool destroy blob

# ---- modules: what a runtime would take, and why it would not
run 0 "$bin" module check "$modules/chimaera_blob.so"
said "^$modules/chimaera_blob\.so: module 'blob', version [0-9]+, ABI [0-9]+: a runtime would take it" out
said '^put +0 ' out
run 0 "$bin" module check "$modules/chimaera_blob.so" --json
said '^\{"name":"blob",.*"usable":true\}$' out
refused() {
	run 1 "$bin" module check "$1"
	said "^chimaera: refused: .*$2" err
	[ ! -s out ] || fail "refused, and yet it is shown"
}
refused "$bad_modules/chimaera_bad_abi.so" 'built for module ABI 9999, this runtime has [0-9]+'
refused "$bad_modules/chimaera_bad_no_note.so" 'no module: it has no note'
refused "$bad_modules/chimaera_bad_table.so" "methods 'first' and 'second' have the same id 3"
refused "$bad_modules/chimaera_bad_undefined.so" 'undefined symbol'
refused "$dir/chimaera_nowhere.so" 'No such file'
refused "$dir/nope" "$dir/nope: No such file"
mkfifo chimaera_fifo.so
refused chimaera_fifo.so 'not a regular file'
refused "$dir" 'not a regular file'
echo "no ELF" >chimaera_text.so
refused chimaera_text.so 'no ELF file'
cp "$modules/chimaera_blob.so" chimaera_other.so
refused chimaera_other.so "the module in it is called 'blob'"
cp "$modules/chimaera_blob.so" blob.so
refused blob.so 'is called chimaera_NAME\.so'
run 1 "$bin" module check --json chimaera_text.so
said '"usable":false,"why":"./chimaera_text.so: no ELF file"' out

mkdir first
cp "$modules/chimaera_compress.so" first/
CHI_REPO_PATH=$dir/first:$modules:$bad_modules run 0 "$bin" module list
said "^compress +1 +[0-9]+ methods +$dir/first/chimaera_compress\.so$" out
said "^compress +hidden +$modules/chimaera_compress\.so$" out
said "^blob +1 +[0-9]+ methods +$modules/chimaera_blob\.so$" out
said "^bad_abi +refused +$bad_modules/chimaera_bad_abi\.so: built for module ABI 9999" out
CHI_REPO_PATH=$dir/first:$modules run 0 "$bin" module list --json
said "\"file\":\"$modules/chimaera_compress\.so\",\"usable\":true,\"hidden\":true\}" out

# ---- pools
start_daemon --set memory.private_mib=256 --set workers.count=2
run 0 "$bin" pool create compress
said "^pool 'compress' made: id [0-9]+$" out
id=$(sed 's/.* //' out)
run 1 "$bin" pool create compress
said "^chimaera: runtime 'default': pool 'compress' is there already" err
run 0 "$bin" pool create compress --open --json
said "^\{\"pool\":$id,\"name\":\"compress\",\"module\":\"compress\",\"created\":false\}$" out
run 0 "$bin" pool create blob cache --containers 4 --json
said '^\{"pool":[0-9]+,"name":"cache","module":"blob","created":true\}$' out
said "^chimaera: info: pool 'cache' made: id [0-9]+, asked by client [0-9]+, pid [0-9]+$" daemon.log
run 1 "$bin" pool create admin a2
said "there is one pool of module 'admin' only" err
run 1 "$bin" pool create nowhere
said "no chimaera_nowhere\.so in" err
run 1 "$bin" pool create create_fails bad --params x
said "^chimaera: runtime 'default': " err
run 0 "$bin" pool list
said '^[0-9]+ +cache +blob +4 +0 +0$' out
[ "$(wc -l <out)" -eq 4 ] || fail "a pool that was not made is listed"
run 0 "$bin" pool list --json
said "\{\"pool\":$id,\"name\":\"compress\",\"module\":\"compress\",\"containers\":1,\"tasks\":0,\"in_flight\":0\}" out
run 0 "$bin" pool destroy cache
said "^pool 'cache' destroyed$" out
said "^chimaera: info: pool 'cache' destroyed: id [0-9]+, asked by client [0-9]+, pid [0-9]+$" daemon.log
run 1 "$bin" pool destroy cache
said "there is no pool 'cache'" err
run 0 "$bin" pool destroy "$id"
run 1 "$bin" pool destroy admin
said 'admin cannot be destroyed' err
# more than fit into the first look
for i in {1..70}; do
	"$bin" pool create compress "pool$i" >/dev/null || fail "pool$i was not made"
done
run 0 "$bin" pool list
[ "$(wc -l <out)" -eq 72 ] || fail "not all pools are listed"
run 0 "$bin" pool destroy pool70

# ---- one that does not answer
freeze_daemon
for command in "create compress late" list "destroy pool1"; do
	# the words of a command
	# shellcheck disable=SC2086
	run 1 timeout 20 "$bin" pool $command --timeout 200
	said "^chimaera: runtime 'default' \(pid $daemon_pid\) does not answer within 0\.2 s; see chimaera status; it is stopped by a signal: kill -CONT $daemon_pid lets it go on$" err
done
kill -CONT "$daemon_pid"
run 0 "$bin" stop
await_end 0

# ---- one whose only worker is in a method that does not come back
CHI_REPO_PATH=$bad_modules start_daemon --set workers.count=1
run 0 timeout 60 "$CHI_TEST_BUILD_DIR/tests/bin/spin_worker" 60
for command in "pool list" "pool create compress" stop; do
	# the words of a command
	# shellcheck disable=SC2086
	run 1 timeout 20 "$bin" $command --timeout 1000
	said "\(pid $daemon_pid\) does not answer within 1 s; .* kill -TERM $daemon_pid ends it$" err
done
kill -KILL "$daemon_pid"
await_end 137

# ---- one that ends, but has work: how long was waited, and that it goes on
CHI_REPO_PATH=$bad_modules start_daemon --set workers.count=2 --set watchdog.hang_ms=50 --set watchdog.move_lanes=true
run 0 timeout 60 "$CHI_TEST_BUILD_DIR/tests/bin/spin_worker" 60
for ((i = 0; i < 1000; i++)); do
	! grep -q "method 'spin'" daemon.log || break
	sleep 0.01
done
run 1 "$bin" stop --timeout 300
said "^chimaera: runtime 'default' has not ended within 0\.3 s; it goes on ending$" err
# and meanwhile it has its name, and says so
run 1 "$bin" pool list
said "^chimaera: runtime 'default' \(pid $daemon_pid\) is stopping$" err
run 1 "$bin" start --foreground
said "a runtime lives at .* already \(pid $daemon_pid\)" err
run 0 "$bin" status
said "pid $daemon_pid  stopping " out
run 1 "$bin" stop --timeout 300
said "^chimaera: runtime 'default' has not ended within 0\.3 s; it goes on ending$" err
kill -KILL "$daemon_pid"
await_end 137

# ---- who asks a second time waits for the same end
CHI_REPO_PATH=$bad_modules start_daemon --set workers.count=2 --set watchdog.hang_ms=50 --set watchdog.move_lanes=true
run 0 timeout 60 "$CHI_TEST_BUILD_DIR/tests/bin/spin_worker" 6
for ((i = 0; i < 1000; i++)); do
	! grep -q "method 'spin'" daemon.log || break
	sleep 0.01
done
run 1 "$bin" stop --timeout 1
run 0 "$bin" stop
said "^chimaera: runtime 'default' \(pid $daemon_pid\) is stopping$" err
said "^chimaera: runtime 'default' has ended; its log tells" out
await_end 0
rm -rf "$dir/chimaera" # what a killed one leaves
