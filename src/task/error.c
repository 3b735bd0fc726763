/* SPDX-License-Identifier: BSD-3-Clause */
#include "task/error.h"

#include <chimaera/task.h>
#include <stdio.h>

#define ERROR_TEXT_BYTES 512

static _Thread_local char error_text[ERROR_TEXT_BYTES];

int chi_error_vset(int error, const char *format, va_list args)
{
	vsnprintf(error_text, sizeof(error_text), format, args);
	return error;
}

void chi_error_write(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	chi_error_vset(0, format, args);
	va_end(args);
}

const char *chi_error_text(void)
{
	return error_text;
}
