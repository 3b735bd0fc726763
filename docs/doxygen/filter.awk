# SPDX-License-Identifier: BSD-3-Clause
#
# filter.awk - what Doxygen reads instead of a header: our comments in its words
#
#   /* path - what it is	the first comment, after the licence: the file's
#   /** name - what it does	a function's
#   @name: text			a parameter; elsewhere @name is just a mention of one
#   Returns: text
#   type field; / * text * /	of a field, a constant, a macro
#   / * text * / before a struct, an enum, a macro at the start of a line

NR == 1 { print ""; next } # the licence
NR == 2 && $0 == "/*" { print "/**"; in_comment = head = 1; next }

in_comment || /^\/\*\*/ || /^\/\* [^-]/ {
	if (!in_comment)
		head = 1
	sub(/^\/\* /, "/** ")
	# the first line that says something: path or name, a dash, and what it is
	if (head && match($0, /[A-Za-z_]/)) {
		if (NR == 3)
			sub(/^ \* [^ ]+ - /, " * @file\n * @brief ")
		else
			sub(/(\/\*\*| \*) [A-Za-z_0-9]+ - /, substr($0, 1, 1) == "/" ? "/** " : " * ")
		head = 0
	}
	if (match($0, /^ \* @[a-z_0-9]+(, @[a-z_0-9]+)*:/)) {
		names = substr($0, 5, RLENGTH - 5)
		gsub(/, @/, ",", names)
		$0 = " * @param " names substr($0, RLENGTH + 1)
	}
	sub(/^ \* Returns:/, " * @return")
	rest = $0
	line = ""
	while (match(rest, /@[a-z_0-9]+/)) {
		word = substr(rest, RSTART + 1, RLENGTH - 1)
		line = line substr(rest, 1, RSTART - 1) (word ~ /^(param|return|file|brief)$/ ? "@" : "\\p ") word
		rest = substr(rest, RSTART + RLENGTH)
	}
	print line rest
	in_comment = !/\*\//
	next
}

# a comment behind something is about it
{
	sub(/[^ \t\/][ \t]+\/\* /, "&<")
	sub(/\/\* </, "/**< ")
	print
}
