#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# background.sh - chimaera start as a daemon: it returns when tasks can be served, its log, its signals, its supervisor
. "${CHI_TEST_SOURCE_DIR:?}/tests/support/tool.bash"

log=$dir/chimaera/default.log
memory=(--set memory.private_mib=256 --set workers.count=2)

# start ARGUMENT...: in the background; sets daemon_pid
start() {
	run 0 "$bin" start "${memory[@]}" "$@"
	daemon_pid=$(sed -n 's/^chimaera: ready (.*, pid \([0-9]*\), .*)$/\1/p' out)
	[ -n "$daemon_pid" ] || fail "start did not say that it is ready"
}

# await PATTERN FILE: somebody else is writing it
await() {
	for ((i = 0; i < 1000; i++)); do
		! grep -qE -- "$1" "$2" 2>/dev/null || return 0
		sleep 0.01
	done
	fail "'$1' did not come into $2: $(cat "$2")"
}

# gone PID: no child of ours, so that it cannot be waited for
gone() {
	for ((i = 0; i < 3000; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.01
	done
	grep -s . /proc/"$1"/task/*/{comm,wchan,syscall} >&2
	fail "process $1 is still there"
}

# ---- start returns, and nobody waits for the daemon's descriptors: the pipe of $() ends
said_ready=$("$bin" start "${memory[@]}")
run 0 "$bin" status
daemon_pid=$(sed -n 's/.* pid \([0-9]*\) .*/\1/p' out)
[ "$said_ready" = "chimaera: ready (default, pid $daemon_pid, $dir/chimaera/default.sock)
chimaera: its log is $log" ] || fail "start said: $said_ready"
[ "$(stat -c %a "$log")" = 600 ] || fail "others may read the log"
said "^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9:]{8}\.[0-9]{3}Z chimaera\[$daemon_pid\]: info: runtime 'default' serves at" "$log"
read -r _ _ _ _ _ session terminal _ <"/proc/$daemon_pid/stat"
[ "$session $terminal" = "$daemon_pid 0" ] || fail "it is in its caller's session, or has kept the terminal"

# ---- of what the caller had open it holds nothing
"$bin" stop >/dev/null
mkfifo held
exec {held}<>held
start
exec {held}>&-
! find "/proc/$daemon_pid/fd" -lname "*/held" | grep -q . || fail "it holds a descriptor of its caller"

# ---- a second one is refused, with name and pid; the first goes on
run 1 "$bin" start "${memory[@]}"
said "^chimaera: cannot start: a runtime lives at $dir/chimaera/default\.sock already \(pid $daemon_pid\)" err
[ ! -s out ] || fail "it says that it is ready, too"
run 0 "$bin" status
said "pid $daemon_pid " out
run 0 "$bin" stop
gone "$daemon_pid"

# ---- what cannot start says why on the caller's stderr, and leaves nothing
run 1 "$bin" start --set 'compose=[{module: create_fails, name: bad, params: x}]'
said "^chimaera: cannot start: --set compose: pool 'bad': " err
run 1 "$bin" start --set 'compose=[{module: compress}, {module: create_fails, name: bad, params: die}]'
said '^chimaera: the daemon was killed before it was ready: Killed$' err
run 1 "$bin" start --log "$dir/no/such/folder/log"
said "^chimaera: cannot start: log file $dir/no/such/folder/log: No such file" err
run 3 "$bin" status

# ---- SIGHUP: what can change live does, the rest is named; a log that was moved away is made anew
printf 'log_level: warn\nworkers: { count: 2 }\nmemory: { private_mib: 256 }\n' >live.yaml
run 0 "$bin" start --config live.yaml --log own.log --name live
daemon_pid=$(sed -n 's/.*pid \([0-9]*\),.*/\1/p' out)
said '^chimaera: its log is own\.log$' out
run 0 "$bin" status --name live
[ ! -s own.log ] || fail "log_level: warn, and yet: $(cat own.log)"
printf 'log_level: debug\nworkers: { count: 3 }\nmemory: { private_mib: 256 }\n' >live.yaml
mv own.log moved.log
kill -HUP "$daemon_pid"
await "reload: key 'workers\.count': 3 needs a restart, it stays 2" moved.log
printf 'log_level: loud\n' >live.yaml
kill -HUP "$daemon_pid"
await "reload: nothing is changed: live\.yaml:1:12: key 'log_level': 'loud' is not known" own.log
said "reload: 1 key changed" own.log
# also when nothing else is taken
mv own.log moved.log
kill -HUP "$daemon_pid"
await "reload: nothing is changed: .* 'loud' is not known" own.log
printf 'log_level: debug\nmemory: { private_mib: 256 }\n' >live.yaml
kill -HUP "$daemon_pid"
await "reload: 0 keys changed" own.log
run 0 "$bin" stop --name live
said 'info: client 1 attached' own.log # by the new level, in the new file
gone "$daemon_pid"

# ---- SIGHUP holds nobody: neither a pipe in the place of the log nor one in that of the configuration
printf 'log_level: info\n' >live.yaml
start --config live.yaml --log own.log --name live
mv own.log moved.log
mkfifo own.log
kill -HUP "$daemon_pid"
await 'reload: the log stays where it is: log file own\.log: No such device' moved.log
rm live.yaml
mkfifo live.yaml
kill -HUP "$daemon_pid"
await 'reload: nothing is changed: live\.yaml: a pipe or a device, not a file' moved.log
run 0 timeout 60 "$bin" stop --name live
gone "$daemon_pid"
run 1 timeout 60 "$bin" start --config live.yaml
said '^chimaera: cannot start: live\.yaml: a pipe or a device, not a file$' err

# ---- a start that does not come to its end can be ended: ^C of who waits for it, too
hanging=(--set 'compose=[{module: create_fails, name: hanging, params: hang}]')
# child_of PID: the first. Not every kernel has /proc/PID/task/PID/children.
child_of() {
	sed -n "s/^\([0-9]*\) (.*) [A-Z] $1 .*/\1/p" /proc/[0-9]*/stat 2>/dev/null | head -1
}
# under_way PID: its modules are loaded
under_way() {
	for ((i = 0; i < 1000; i++)); do
		! grep -qs create_fails "/proc/$1/maps" || return 0
		sleep 0.01
	done
	fail "it does not start"
}
"$bin" start --foreground "${memory[@]}" "${hanging[@]}" >/dev/null 2>&1 &
daemon_pid=$!
under_way "$daemon_pid"
kill -TERM "$daemon_pid"
await_end 1
"$bin" start "${memory[@]}" "${hanging[@]}" >/dev/null 2>&1 &
caller=$!
daemon_pid=
for ((i = 0; i < 1000; i++)); do
	daemon_pid=$(child_of "$caller")
	[ -z "$daemon_pid" ] || break
	sleep 0.01
done
[ -n "$daemon_pid" ] || fail "start has no child"
under_way "$daemon_pid"
kill -KILL "$caller" # a shell ignores SIGINT for what runs beside it
gone "$daemon_pid"

# ---- a daemon that dies while it is to stop: that is no good end
start
kill -STOP "$daemon_pid"
"$bin" stop >stop.out 2>stop.err &
stopper=$!
kill -KILL "$daemon_pid"
code=0
wait $stopper || code=$?
# it may have been killed before stop had reached it
[ $code -eq 1 ] || [ $code -eq 3 ] || fail "stop of one that was killed ended with $code"
[ $code -eq 3 ] || said 'died before it had stopped|has not ended' stop.err
gone "$daemon_pid"

# ---- nobody reads what it says: no SIGPIPE, and no socket takes the place of a closed descriptor
"$bin" start --foreground "${memory[@]}" <&- >&- 2>&- &
daemon_pid=$!
for ((i = 0; i < 1000; i++)); do "$bin" status >/dev/null 2>&1 && break; done
run 0 "$bin" stop
await_end 0
"$bin" start "${memory[@]}" --set log_level=debug | true
run 0 "$bin" status
daemon_pid=$(sed -n 's/.* pid \([0-9]*\) .*/\1/p' out)
run 1 bash -c '"$0" status >/dev/full' "$bin"
said 'cannot write the answer: No space left' err
run 1 bash -c '"$0" status --json >/dev/full' "$bin"
run 0 bash -c '"$0" status <&- >&- 2>&-' "$bin"
run 0 "$bin" stop
gone "$daemon_pid"
daemon_pid=

# ---- a supervisor is told: ready, reloading, stopping
if command -v python3 >/dev/null; then
	python3 - "$bin" <<-'PYTHON' || fail "the supervisor was not told what it should be"
		import os, signal, socket, subprocess, sys
		path = os.path.join(os.environ["XDG_RUNTIME_DIR"], "notify")
		told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		told.bind(path)
		told.settimeout(60)
		arguments = ["start", "--foreground", "--set", "memory.private_mib=256"]
		daemon = subprocess.Popen([sys.argv[1]] + arguments, env=dict(os.environ, NOTIFY_SOCKET=path),
			stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		def expect(text):
		    got = told.recv(4096).decode()
		    assert got.startswith(text), (got, text)
		try:
		    expect("READY=1")
		    subprocess.run([sys.argv[1], "status"], check=True, stdout=subprocess.DEVNULL)
		    daemon.send_signal(signal.SIGHUP)
		    expect("RELOADING=1\nMONOTONIC_USEC=")
		    expect("READY=1")
		    daemon.send_signal(signal.SIGTERM)
		    expect("STOPPING=1")
		    assert daemon.wait(60) == 0
		finally:
		    daemon.kill()
		    os.unlink(path)
	PYTHON
fi

# ---- on the journal each line has its level
exec 3>journal
JOURNAL_STREAM=$(stat -L -c %d:%i journal) "$bin" start --foreground "${memory[@]}" >ready 2>&3 &
daemon_pid=$!
exec 3>&-
await ready ready
run 0 "$bin" stop
await_end 0
said "^<6>chimaera: info: runtime 'default' serves at" journal
