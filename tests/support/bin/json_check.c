/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json_check.c - is standard input JSON, to the letter? And what does it say?
 *
 * usage: json_check [POINTER...] <FILE
 * Prints the value at each JSON pointer (/workers/0/tasks), one a line. Exit codes: 0, 1 no JSON, 2 no such value.
 */
#include <json-c/json_object.h>
#include <json-c/json_pointer.h>
#include <json-c/json_tokener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[16 << 20];

int main(int argc, char **argv)
{
	size_t n = fread(text, 1, sizeof(text) - 1, stdin);
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *root, *value;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tokener, text, (int)n + 1); /* with the NUL: the end of it */
	if (json_tokener_get_error(tokener) != json_tokener_success || json_tokener_get_parse_end(tokener) != n) {
		fprintf(stderr, "json_check: at byte %zu of %zu: %s\n", json_tokener_get_parse_end(tokener), n,
			json_tokener_error_desc(json_tokener_get_error(tokener)));
		return 1;
	}
	for (int i = 1; i < argc; i++) {
		if (json_pointer_get(root, argv[i], &value) < 0) {
			fprintf(stderr, "json_check: there is no %s\n", argv[i]);
			return 2;
		}
		puts(json_object_get_string(value));
	}
	json_object_put(root);
	json_tokener_free(tokener);
	return 0;
}
