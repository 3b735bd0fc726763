/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * output.h - what a command prints on its standard output: JSON for scripts, tables for people
 *
 * A JSON value is built with json-c (json_object_new_object(), json_object_object_add() ...), a table by fprintf().
 */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include <json-c/json_object.h>

/* Print @value as one line. @value: given. Returns as end_output(). */
int print_json(struct json_object *value);

/* Print lines whose cells are separated by tabs, so that the cells of a column stand below each other. */
void print_aligned(const char *lines);

/* The last thing a command does with its standard output: EXIT_OK, or EXIT_FAILED, with a message, when not all was
 * written. */
int end_output(void);

#endif
