# SPDX-License-Identifier: BSD-3-Clause
# bash completion of chimaera(1): the commands and options that its --help lists; files where it lists none

# _chimaera_help COMMAND...: what may follow, in words
_chimaera_help() {
	local text

	text=$("${COMP_WORDS[0]}" "$@" --help 2>/dev/null)
	sed -nE 's/^  ([a-z][a-z-]*) .*/\1/p' <<<"$text"
	grep -oE -- '--[a-z][a-z-]*' <<<"$text" | sort -u
}

_chimaera() {
	local current=$2 word commands=()

	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		[[ $word == -* || ${#commands[@]} -ge 2 ]] || commands+=("$word")
	done
	mapfile -t COMPREPLY < <(compgen -W "$(_chimaera_help "${commands[@]}")" -- "$current")
}
complete -o default -F _chimaera chimaera
