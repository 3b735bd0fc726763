/* SPDX-License-Identifier: BSD-3-Clause */
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "chimaera.h"

#define COLUMNS_MAX 16
#define GAP	    2

int end_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_OK;
	if (errno != EPIPE) /* who has seen enough knows */
		fprintf(stderr, "chimaera: cannot write the answer: %s\n", strerror(errno));
	return EXIT_FAILED;
}

int print_json(struct json_object *value)
{
	const char *text = json_object_to_json_string_ext(value,
							  JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (text)
		puts(text);
	json_object_put(value);
	if (text)
		return end_output();
	fprintf(stderr, "chimaera: no memory for the answer\n");
	return EXIT_FAILED;
}

/* A cell ends at a tab or at the line's end. */
static const char *next_cell(const char *cell, size_t *ret_size)
{
	*ret_size = strcspn(cell, "\t\n");
	return cell[*ret_size] == '\t' ? cell + *ret_size + 1 : NULL;
}

static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');

	return end ? end + 1 : line + strlen(line);
}

void print_aligned(const char *lines)
{
	size_t widths[COLUMNS_MAX] = { 0 }, size;

	for (const char *line = lines; *line; line = next_line(line)) {
		unsigned int column = 0;

		for (const char *cell = line; cell && column < COLUMNS_MAX; column++) {
			cell = next_cell(cell, &size);
			widths[column] = size > widths[column] ? size : widths[column];
		}
	}
	for (const char *line = lines; *line; line = next_line(line)) {
		unsigned int column = 0;

		for (const char *cell = line, *next; cell; cell = next, column++) {
			next = next_cell(cell, &size);
			/* nothing follows the last cell: no blanks after it */
			printf("%-*.*s", next && column < COLUMNS_MAX ? (int)(widths[column] + GAP) : 0, (int)size,
			       cell);
		}
		putchar('\n');
	}
}
