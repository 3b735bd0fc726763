# SPDX-License-Identifier: BSD-3-Clause
# bash completion of chimaera(1): the commands and options that its --help lists; files where it lists none

# To load it in a shell: . PREFIX/share/bash-completion/completions/chimaera

# _chimaera_words TEXT: what may follow, of a help's text
_chimaera_words() {
	sed -nE 's/^  ([a-z][a-z-]*) .*/\1/p' <<<"$1"
	grep -oE -- '--[a-z][a-z-]*' <<<"$1" | sort -u
}

# _chimaera_wants_file TEXT PREVIOUS: it says FILE behind the option before, or behind the command
_chimaera_wants_file() {
	if [[ $2 == -* ]] && grep -qE -- "^ *(-., )?$2[,=]" <<<"$1"; then
		grep -qE -- "^ *(-., )?$2(, --[a-z-]+)?=FILE" <<<"$1"
	else
		grep -q '^Usage: .* FILE$' <<<"$1"
	fi
}

_chimaera() {
	local current=$2 previous=$3 word text commands=()

	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		# the words behind an option may be its value
		[[ $word != -* && ${#commands[@]} -lt 2 ]] || break
		commands+=("$word")
	done
	text=$("${COMP_WORDS[0]}" "${commands[@]}" --help 2>/dev/null)
	[[ $current == -* ]] || ! _chimaera_wants_file "$text" "$previous" || return 0
	mapfile -t COMPREPLY < <(compgen -W "$(_chimaera_words "$text")" -- "$current")
}
complete -o default -F _chimaera chimaera
