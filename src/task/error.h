/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * error.h - the thread's text behind chi_error_text()
 */
#ifndef TASK_ERROR_H
#define TASK_ERROR_H

#include <stdarg.h>

/* Remember why, cut at 512 bytes. Async-signal: no. */
void chi_error_write(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same; its value is @error (a negative errno), so that `return chi_error_set(-EINVAL, ...)` works. A macro, for
 * compilers and analyzers of the caller to know that value. */
#define chi_error_set(error, ...)             \
	({                                    \
		int chi_error_ = (error);     \
		chi_error_write(__VA_ARGS__); \
		chi_error_;                   \
	})

int chi_error_vset(int error, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

#endif
