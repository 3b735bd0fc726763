#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tool.sh - the command line of chimaera where nothing runs: usage, help, exit codes, bad configurations
. "${CHI_TEST_SOURCE_DIR:?}/tests/support/tool.bash"

# ---- what there is
run 0 "$bin" --help
said '^Usage: chimaera COMMAND' out
for command in start stop status config pool module new-module; do
	run 0 "$bin" --help
	said "^  $command " out
	run 0 "$bin" $command --help
	said "^Usage: chimaera $command" out
done
run 0 "$bin" stop --help
said 'milliseconds' out

# ---- chimaera(1) has every command and option that --help lists
page=$CHI_TEST_SOURCE_DIR/docs/man/chimaera.1
commands_of() {
	"$bin" "$@" --help | sed -nE '/^Tables:/q; s/^  ([a-z][a-z-]*)  .*/\1/p'
}
documented() {
	local option words=$*
	grep -qE "^\.Cm $words( |$)" "$page" || fail "chimaera(1) has no '$words'"
	while read -r option; do
		grep -qE "Fl -$option( |$)" "$page" || fail "chimaera(1) has no --$option ($words)"
	done < <("$bin" "$@" --help | sed -nE 's/^  (-[a-zA-Z], |    )--([a-z-]+).*/\2/p' | grep -vxE 'help|usage|version')
}
n=0
for command in $(commands_of); do
	below=$(commands_of "$command")
	[ -n "$below" ] || below=-
	for word in $below; do
		documented "$command" ${word#-}
		n=$((n + 1))
	done
done
[ $n -ge 10 ] || fail "only $n commands were compared with chimaera(1)"
run 0 "$bin" --help
run 0 "$bin" --version
said '^chimaera [0-9]+\.[0-9]+\.[0-9]+$' out

# ---- wrong usage
run 2 "$bin"
said '^Usage: chimaera' err
run 2 "$bin" frobnicate
said "no command 'frobnicate'" err
run 2 "$bin" start superfluous
said "unexpected argument 'superfluous'" err
run 2 "$bin" status --no-such-option
run 2 "$bin" status superfluous
said "no table 'superfluous': runtime, workers, pools, methods, clients or lanes" err
run 2 "$bin" stop --timeout=-1
run 2 "$bin" config --keys --json
said 'not both' err
run 2 "$bin" config --set workers.count
said "'workers.count' is no KEY=VALUE" err
for word in help -h; do
	run 0 "$bin" $word
	said '^Usage: chimaera COMMAND' out
done

# ---- every command tells its exit codes; what needs no runtime has no 3
for command in start stop status config "pool create" "module check" "module list" pool module new-module; do
	# the words of a command
	# shellcheck disable=SC2086
	run 0 "$bin" $command -h
	said "^Usage: chimaera $command " out
	tr -s ' \n' ' ' <out >codes
	said 'Exit codes: 0 .* 1 .* 2 wrong usage' codes
	case $command in
	module* | new-module | config | start) ! grep -q ' 3 ' codes || fail "$command has no exit code 3" ;;
	*) said ' 3 ' codes ;;
	esac
done
run 2 "$bin" stop --timeout 1s
said "'1s' is no number from 0 to" err

# ---- there is no runtime
run 3 "$bin" status
said "chimaera start$" err
run 3 "$bin" stop --name other
said "chimaera start --name other$" err
run 3 "$bin" stop --name "$dir/other.sock"
said "$dir/other\.sock" err
grep -q 'chimaera start' err && fail "a path is no name for a start"
run 3 "${ARCHIVE_BIN:?}" ls
said 'chimaera start' err

# ---- what cannot be written is told; who reads no more needs no telling
for command in --help config "new-module full"; do
	code=0
	# the words of a command
	# shellcheck disable=SC2086
	"$bin" $command >/dev/full 2>err || code=$?
	[ $code -eq 1 ] || fail "chimaera $command to a full device ended with $code"
	said 'cannot write the answer' err
done
mkfifo unread
"$bin" config --keys >unread 2>err &
pid=$!
exec 3<unread 3<&-
code=0
wait $pid || code=$?
[ ! -s err ] || fail "it told who does not read"

# ---- a bad configuration: exit code, file, line, key
bad_config() {
	printf '%b' "$1" >bad.yaml
	run 1 "$bin" start --foreground --config bad.yaml
	said "$2" err
}
bad_config 'workers:\n  count: 1\n  cuont: 2\n' \
	"bad\.yaml:3:3: key 'workers\.cuont': there is no such key; is 'workers\.count' meant"
bad_config 'workers:\n  count: many\n' 'bad\.yaml:2:.*workers\.count'
bad_config 'clients: { lane_depth: 3 }\n' 'bad\.yaml:1:.*clients\.lane_depth'
bad_config 'name: "a/b"\n' 'bad\.yaml:1:.*name'
bad_config 'workers: [' 'bad\.yaml'
run 1 "$bin" start --foreground --config missing.yaml
said 'missing\.yaml: No such file' err
run 1 "$bin" start --foreground --config "$dir"
said 'folder' err
run 1 "$bin" start --foreground --name a/b
said "--name: key 'name': 'a/b' is no name" err
run 1 "$bin" start --foreground --set workers.count=x
said "^chimaera: cannot start: --set workers.count: key 'workers.count': x is no number" err
CHIMAERA_CLIENTS_MAX=0 run 1 "$bin" start --foreground
said "environment CHIMAERA_CLIENTS_MAX: key 'clients.max': 0 is out of range" err

# ---- the effective configuration, and where it is from
printf 'workers:\n  count: 3\n  spin_us: 7\n' >good.yaml
CHIMAERA_WORKERS_SPIN_US=8 run 0 "$bin" config --config good.yaml --set fibers.max=9 --name seven
said '^name: "seven" +# --name$' out
said '^  count: 3 +# good\.yaml:2:3$' out
said '^  spin_us: 8 +# environment CHIMAERA_WORKERS_SPIN_US$' out
said '^  max: 9 +# --set fibers\.max$' out
said '^log_level: info +# default$' out
mv out again.yaml
run 0 "$bin" config --config again.yaml
said '^name: "seven" +# again\.yaml:1:1$' out
diff <(sed 's/ *#.*//' again.yaml) <(sed 's/ *#.*//' out) >&2 || fail "what config prints is read as something else"
CHIMAERA_LOGLEVEL=debug run 0 "$bin" config --json
said 'environment CHIMAERA_LOGLEVEL: there is no such key; is CHIMAERA_LOG_LEVEL meant' err
said '^\{"name":\{"value":"default","source":"default",.*"workers.count":\{"value":0,' out
run 0 "$bin" config --keys
said '^workers\.count +0 threads +0\.\.64 +CHIMAERA_WORKERS_COUNT ' out
run 1 "$bin" config --set 'workers.cpus=[0'
said "^chimaera: --set workers.cpus: key 'workers.cpus': '\[0' is no YAML" err
run 2 "$bin" config superfluous
[ -z "$(find "$dir" -type s)" ] || fail "a start that failed left a socket"
