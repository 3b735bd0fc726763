# SPDX-License-Identifier: BSD-3-Clause
#
# tool.bash - for the scripts that try the tool: run it, look at what it said, start and end daemons
set -u

bin=${CHIMAERA_BIN:?}
dir=${XDG_RUNTIME_DIR:?}
cd "$dir" || exit 1
unset CHIMAERA_NAME

# A daemon in the background is nobody's child. When this script has ended, however it did, what it left is killed: the fifo has
# no writer then.
mkfifo lease
setsid -f env -u XDG_RUNTIME_DIR bash -c '
	cat lease >/dev/null
	sleep 3 # run_case.sh tells who is left, before
	for environ in $(grep -lzxF "XDG_RUNTIME_DIR=$1" /proc/[0-9]*/environ 2>/dev/null); do
		kill -KILL "$(cut -d/ -f3 <<<"$environ")"
	done' lease "$dir" >/dev/null 2>&1
exec {lease}>lease

fail() {
	echo "$(basename "$0"):${BASH_LINENO[-2]}: $*" >&2
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

# said PATTERN FILE
said() {
	grep -qE -- "$1" "$2" || fail "'$1' is not in $2"
}

# start_daemon ARGUMENT...: in the foreground; it says itself when it is ready
start_daemon() {
	rm -f ready daemon.log
	mkfifo ready
	"$bin" start --foreground "$@" >ready 2>daemon.log &
	daemon_pid=$!
	read -r -t 60 line <ready || fail "no line from the daemon: $(cat daemon.log)"
	[[ $line == *ready* ]] || fail "the daemon said: $line"
}

# freeze_daemon: the signal is sent, and somewhat later all its threads stand
freeze_daemon() {
	kill -STOP "$daemon_pid"
	for ((i = 0; i < 1000; i++)); do
		! grep -q '^State:[[:space:]]T' "/proc/$daemon_pid/status" || return 0
		sleep 0.01
	done
	fail "the daemon does not stop"
}

# await_end CODE
await_end() {
	local code=0
	wait "$daemon_pid" || code=$?
	[ "$code" -eq "$1" ] || fail "the daemon ended with $code, not $1: $(cat daemon.log)"
	daemon_pid=
}
