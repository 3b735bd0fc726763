#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# config_docs.sh - the table in docs/configuration.md is that of src/runtime/config.c
#
# docs/chimaera.yaml is written from config.c's table, and runtime_config compares it; this compares the page with the
# file. `config_docs.sh --write` prints the rows.
set -euo pipefail

root=${CHI_TEST_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}

# key: default # [unit; ]meaning (allowed[:] limits)      a row for each
rows() {
	awk '
	/^[a-z]+:$/ { group = substr($0, 1, length($0) - 1) "."; next }
	/^#/ || /^$/ { next }
	{
		key = (/^ / ? group : "") $1
		sub(/:$/, "", key)
		rest = substr($0, index($0, ": ") + 2)
		at = index(rest, " # ")
		value = substr(rest, 1, at - 1)
		text = substr(rest, at + 3)
		at = match(text, / \(allowed:? [^)]*\)$/)
		limits = substr(text, at + 2, length(text) - at - 2)
		sub(/^allowed:? /, "", limits)
		text = substr(text, 1, at - 1)
		unit = ""
		if (match(text, /^(ms|us|KiB|MiB|CPUs|[a-z]+); /) && text !~ /^whose/) {
			unit = substr(text, 1, RLENGTH - 2)
			text = substr(text, RLENGTH + 1)
		}
		printf "| `%s` | `%s` | %s | %s | %s |\n", key, value, unit, limits, text
	}' "$root/docs/chimaera.yaml"
}

if [ "${1:-}" = --write ]; then
	rows
	exit 0
fi

n=$(rows | wc -l)
[ "$n" -gt 20 ] || { echo "config_docs: found only $n keys in docs/chimaera.yaml" >&2; exit 1; }
# the first table of the page
diff -u --label docs/chimaera.yaml --label docs/configuration.md <(rows) \
	<(awk '/^\| `/ { print; seen = 1; next } seen { exit }' "$root/docs/configuration.md") || {
	echo "config_docs: change the table in docs/configuration.md to what '$0 --write' prints" >&2
	exit 1
}
