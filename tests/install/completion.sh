#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# completion.sh - bash completes the commands and options of chimaera
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:?}
bin=${CHIMAERA_BIN:?}
# shellcheck source=/dev/null
source "$root/tools/completion.bash"

fail() {
	echo "completion.sh:${BASH_LINENO[0]}: $*" >&2
	exit 1
}

# completes WORD... [the last may be begun]: the answers stand in COMPREPLY
completes() {
	COMP_WORDS=("$bin" "$@")
	COMP_CWORD=$#
	_chimaera chimaera "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
}

completes st
[ "${COMPREPLY[*]}" = "start stop status" ] || fail "st: ${COMPREPLY[*]}"
completes --ver
[ "${COMPREPLY[*]}" = "--version" ] || fail "--ver: ${COMPREPLY[*]}"
completes start --fore
[ "${COMPREPLY[*]}" = "--foreground" ] || fail "start --fore: ${COMPREPLY[*]}"
completes start --config ./dev
[ -z "${COMPREPLY[*]}" ] || fail "a file is left to bash: ${COMPREPLY[*]}"
# also before a letter of it is typed; and what comes behind it is completed again
for words in "start -c" "start --config" "start --log" "config -c" "module check" "module check --json"; do
	# the words of a command
	# shellcheck disable=SC2086
	completes $words ""
	[ -z "${COMPREPLY[*]}" ] || fail "$words: a file is left to bash: ${COMPREPLY[*]}"
done
completes start -c ./dev --fore
[ "${COMPREPLY[*]}" = "--foreground" ] || fail "start -c ./dev --fore: ${COMPREPLY[*]}"
completes module ""
[[ " ${COMPREPLY[*]} " == *" check "* ]] || fail "module: ${COMPREPLY[*]}"

# every command has options of its own, or commands below it
completes ""
[ ${#COMPREPLY[@]} -ge 3 ] || fail "commands: ${COMPREPLY[*]}"
for command in "${COMPREPLY[@]}"; do
	[[ $command != -* ]] || continue
	completes "$command" --h
	[ "${COMPREPLY[*]}" = "--help" ] || fail "$command --h: ${COMPREPLY[*]}"
done
complete -p chimaera >/dev/null || fail "not registered"
