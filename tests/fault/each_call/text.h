/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text.h - a text that grows in a fixed place; what has no room is cut off
 */
#ifndef TESTS_FAULT_TEXT_H
#define TESTS_FAULT_TEXT_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 4))) static inline void append(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, size - used, format, args);
	va_end(args);
}

#endif
