/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * error.h - the thread's text behind chi_error_text()
 */
#ifndef TASK_ERROR_H
#define TASK_ERROR_H

#include <stdarg.h>

/* Remember why, cut at 512 bytes; returns @error (a negative errno) so that `return chi_error_set(-EINVAL, ...)` works.
 * Async-signal: no. */
int chi_error_set(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
int chi_error_vset(int error, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

#endif
