#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# libchimaera.3.sh - write the page libchimaera(3): what the headers say, in one line for each function
set -euo pipefail
cd "$(dirname "$0")/../../include"

# functions HEADER: an item for each documented one; the first part of its first sentence, which has to say by itself what it does
functions() {
	awk '/^\/\*\*/ { begun = 1 }
		begun && match($0, /(\/\*\*| \*) chi_[a-z_]+ - /) {
			name = substr($0, RSTART, RLENGTH)
			gsub(/[^a-z_]/, "", name)
			text = substr($0, RSTART + RLENGTH)
			sub(/ *\*\/$/, "", text)
			sub(/(;|:|\. |\.$).*/, "", text)
			if (text == "" || text ~ /^Returns|^@|\? /) {
				print FILENAME ": " name " - " text ": that is not what it does" >"/dev/stderr"
				failed = 1
			}
			gsub(/@/, "", text)
			printf ".It Fn %s\n%s\n", name, text
			begun = 0
		}
		END { exit failed }' "chimaera/$1"
}

cat <<'PAGE'
.\" SPDX-License-Identifier: BSD-3-Clause
.Dd November 24, 2026
.Dt LIBCHIMAERA 3
.Os
.Sh NAME
.Nm libchimaera
.Nd hand tasks to a Chimaera runtime, or be one
.Sh LIBRARY
.Bl -tag -width libchimaera-runtime -compact
.It Sy libchimaera
the calls of a client
.Pq Li pkg-config --libs chimaera
.It Sy libchimaera-runtime
the same calls, and the runtime itself
.Pq Li pkg-config --libs chimaera-runtime
.El
.Pp
A program links one of the two.
A module links neither.
.Sh SYNOPSIS
.In chimaera/chimaera.h
.In chimaera/runtime.h
.In chimaera/module.h
.In chimaera/method.h
.Sh DESCRIPTION
This is the API at a glance.
The reference is the headers: for each function they tell who owns what, from which threads it may be called, whether it may
switch the fiber, and which errors it returns.
.Pp
All names begin with
.Sy chi_ .
The shared-memory floor below it, with
.Sy hipc_
and
.Sy hshm_ ,
is in
.In hshm/*.h .
PAGE

# section HEADER: under what the header says it is for; nothing when it has no functions
section() {
	local items
	items=$(functions "$1")
	[ -n "$items" ] || return 0
	sed -n "s#^ \* chimaera/$1 - \([^(:;]*[^(:; ]\).*#.Ss \u\1#p" "chimaera/$1"
	printf '.In chimaera/%s\n.Bl -tag -width Ds\n%s\n.El\n' "$1" "$items"
}

first=(client.h task.h admin.h runtime.h module.h)
for header in "${first[@]}"; do
	section "$header"
done
for header in chimaera/*.h; do
	[[ " ${first[*]} " == *" ${header##*/} "* ]] || section "${header##*/}"
done

cat <<'PAGE'
.Ss Calls of a method
Of a list of its fields,
.In chimaera/method.h
makes a method's task and the functions that fill, allocate and call it.
PAGE

cat <<'PAGE'
.Sh RETURN VALUES
Functions that can fail return 0 or a count, or a negative
.Va errno .
.Fn chi_error_text
has the cause in words, for the calling thread.
Those that callers act upon:
.Bl -tag -width EOWNERDEAD
.It Er EAGAIN
The lane is full; nothing is lost, try again.
.It Er EOWNERDEAD
The runtime is gone.
.It Er ENOTCONN
The handle was made before a
.Xr fork 2 .
.It Er EPROTO
The other side has another version.
.It Er ECANCELED , ETIMEDOUT
The task was cancelled; the wait ended, and not the task.
.El
.Sh SEE ALSO
.Xr chimaera 1 ,
.Xr chimaera.yaml 5 ,
.Xr chimaera 7
PAGE
