#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# archive.sh - examples/archive as its users meet it: the demonstration both ways, and put, ls, get against a daemon
set -euo pipefail

archive=${ARCHIVE_BIN:?}
chimaera=${CHIMAERA_BIN:?}
work=$(mktemp -d)
daemon=
cleanup() {
	[ -z "$daemon" ] || kill -TERM "$daemon" 2>/dev/null || true
	[ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

die() {
	echo "archive.sh: $*" >&2
	exit 1
}

# expect CODE COMMAND...: its output goes to $work/out and $work/err
expect() {
	local want=$1 got=0
	shift
	"$@" >"$work/out" 2>"$work/err" || got=$?
	[ "$got" -eq "$want" ] || {
		cat "$work/out" "$work/err" >&2
		die "exit $got, not $want: $*"
	}
}

# number KEY: from the JSON in $work/out
number() {
	grep -o "\"$1\": [0-9]*" "$work/out" | head -n 1 | grep -o '[0-9]*$'
}

# ---- without a daemon ----

expect 2 "$archive"
expect 2 "$archive" put
expect 2 "$archive" demo --jobs none
expect 0 "$archive" --help
for command in "put $0" "get" "ls"; do
	# shellcheck disable=SC2086
	expect 3 "$archive" $command
	grep -q "chimaera start" "$work/err" || die "exit 3 does not say how to start a daemon"
done

# ---- the demonstration ----

# shown JSON-OUTPUT: what a run must show
shown() {
	grep -q '"ok": true' "$work/out" || die "not ok"
	[ "$(number files)" -ge 200 ] || die "too few files"
	[ "$(number in_bytes)" -ge 5000000 ] || die "too few bytes"
	[ "$(number packed_files)" -ge 1 ] || die "no compressed files"
	[ "$(number waits)" -ge 1 ] || die "no waits"
	[ "$(number containers_used)" -ge 2 ] || die "one container"
	[ "$(number workers_used)" -ge 2 ] || die "one worker"
	[ "$(number stored_bytes)" -lt "$(number in_bytes)" ] || die "nothing was compressed"
}

expect 0 "$archive" demo --small --json
shown
expect 0 "$archive" demo --daemon --small --json
shown
[ "$(number clients)" -eq 2 ] || die "not two clients"
expect 0 "$archive" demo --small --jobs 1
# row TEXT: a line of the table
row() {
	grep -qE -- "$1" "$work/out" || {
		cat "$work/out" >&2
		die "no line '$1'"
	}
}
row '^  files +[0-9]+, [0-9]+ of them compressed already; the largest [0-9.]+ [kM]?B$'
row '^  bytes +[0-9.]+ MB in, [0-9.]+ MB stored, ratio [0-9]+\.[0-9]+; [0-9]+ chunks, [0-9]+ of them kept as they are$'
row '^  tasks +[0-9]+ run, [0-9]+ blocked waits, by 1 client$'
row '^  containers +[0-9]+ of [0-9]+ hold files$'
row '^  put +[0-9.]+ MB/s +p50 [0-9.]+ [mu]s, p99 [0-9.]+ [mu]s$'
row '^  get, compare +[0-9.]+ MB/s +p50 [0-9.]+ [mu]s, p99 [0-9.]+ [mu]s$'
row '^  worker +tasks +in place +waits +by heap +by post +sleeps +busy$'
row '^  1( +[0-9]+){6} +[0-9.]+ s$'
row '^ok: [0-9]+ files came back the same, byte for byte$'
expect 1 "$archive" demo "$work/no such path"

# the bar: on a terminal alone
expect 0 "$archive" demo --small
[ ! -s "$work/err" ] || die "something on standard error that is no terminal"
script -qec "$archive demo --small" /dev/null >"$work/out" </dev/null || die "not ok on a terminal"
row '(put|compare) +\[#* *\] +[0-9]+ %  [0-9.]+ [kM]?B of [0-9.]+ MB'
row '^ok: [0-9]+ files'

# ---- and when it has to fail ----

# fails WHY COMMAND...: the demonstration ends with 1 and says why
fails() {
	local why=$1
	shift
	expect 1 "$@"
	grep -q -- "archive: FAILED: $why" "$work/err" || {
		cat "$work/err" >&2
		die "does not say '$why': $*"
	}
	! grep -q '^ok:' "$work/out" || die "failed, and says ok: $*"
}

# one byte of one file comes back turned, from a module of the same name that is found first
mkdir "$work/modules" "$work/some"
ln -s "$CHI_TEST_BUILD_DIR/tests/modules/chimaera_plain_blob.so" "$work/modules/chimaera_blob.so"
cp /proc/self/status "$work/some/short"
head -c 3000000 /dev/urandom >"$work/some/long"
for way in --jobs=4 --daemon; do
	CHI_REPO_PATH=$work/modules:$CHI_REPO_PATH PLAIN_BLOB_FLIPS=3000000 \
		fails "$work/some/long: byte 2999999 differs from the file (1 failures)" "$archive" demo $way "$work/some"
done
# the counters: no wait, one container, one worker
CHI_REPO_PATH=$work/modules:$CHI_REPO_PATH fails "the counters show no blocked wait" "$archive" demo --small
fails "all went into one container" "$archive" demo "$work/some/long"
CHIMAERA_WORKERS_COUNT=1 fails "one worker did everything" "$archive" demo --daemon --small

# a daemon that cannot be started
CHIMAERA_BIN=/nonexistent/chimaera expect 1 "$archive" demo --daemon --small

# ---- one's own files ----

"$chimaera" start --foreground >"$work/daemon.log" 2>&1 &
daemon=$!
for _ in $(seq 200); do
	"$archive" ls >/dev/null 2>&1 && break
	kill -0 "$daemon" 2>/dev/null || die "no daemon: $(cat "$work/daemon.log")"
	sleep 0.05
done

tree=$work/tree
mkdir -p "$tree/sub/deeper" "$tree/empty folder"
cp -r "${CHI_TEST_SOURCE_DIR:-.}/include" "$tree/sub/"
head -c 3000000 /dev/urandom >"$tree/noise"
: >"$tree/empty"
printf 'a name with\na newline' >"$tree/odd
name"
ln -s /etc/passwd "$tree/link"

cd "$work"
expect 0 "$archive" ls
[ ! -s "$work/out" ] || die "a new archive is not empty"
expect 0 "$archive" put tree
expect 0 "$archive" ls tree/sub
[ "$(wc -l <"$work/out")" -eq "$(find tree/sub -type f | wc -l)" ] || die "ls of a folder"

# everything, one folder, one file
expect 0 "$archive" get -o all
rm "$tree/link"
rmdir "$tree/empty folder" "$tree/sub/deeper"
diff -r tree all/tree || die "what came back differs"
expect 0 "$archive" get -o one tree/noise
cmp tree/noise one/tree/noise
[ "$(find one -type f | wc -l)" -eq 1 ] || die "more than one file came"
expect 0 "$archive" get -o folder tree/sub/
diff -r tree/sub folder/tree/sub || die "a folder differs"

# a symbolic link that is named is followed; what is no file is told
ln -s tree/noise named
expect 0 "$archive" put named
expect 0 "$archive" get -o links named
cmp tree/noise links/named || die "what a named link leads to was not stored"
mkfifo pipe
expect 1 "$archive" put pipe
grep -q "neither file nor folder: pipe" "$work/err" || die "a pipe was left out without a word"

# put again replaces
echo "new text" >tree/noise
expect 0 "$archive" put ./tree/noise
expect 0 "$archive" get -o again tree/noise
cmp tree/noise again/tree/noise

expect 1 "$archive" get -o none tree/no-such-file
grep -q "tree/no-such-file: not in the archive" "$work/err" || die "does not name what is missing"
expect 1 "$archive" ls tree/nois
# however the path is typed, the name is the same
expect 0 "$archive" put tree/
expect 0 "$archive" put .//tree/./noise
expect 0 "$archive" ls
! grep -q '//' "$work/out" || die "names with empty parts"
expect 1 "$archive" put ../"$(basename "$PWD")"/tree/noise
expect 1 "$archive" put no-such-path
grep -q "no-such-path" "$work/err" || die "does not name what cannot be read"

# a path too long for a key is named, the others are stored
long=tree/$(printf 'x%.0s' $(seq 130))/$(printf 'y%.0s' $(seq 130))
mkdir -p "$(dirname "$long")"
echo long >"$long"
expect 1 "$archive" put tree
grep -q "more than 255 bytes" "$work/err" || die "does not explain the long path"

# another name is another daemon
expect 3 "$archive" ls --name no-such-daemon

kill -TERM "$daemon"
wait "$daemon" || die "the daemon ended with $?: $(cat "$work/daemon.log")"
daemon=
expect 3 "$archive" ls
echo "archive: ok"
