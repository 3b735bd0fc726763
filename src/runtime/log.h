/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.h - the runtime's log: one line a record, on standard error or in a file
 *
 * "chimaera: error: text"; in a file with time and pid before it; on the journal of systemd with its level's number.
 */
#ifndef RUNTIME_LOG_H
#define RUNTIME_LOG_H

#include <chimaera/module.h>

/* Set once at start, from configuration; embedded runtimes of one process share it. */
void chi_log_set_level(enum chi_log_level level);

/* Where records go from here on: a file, made if need be and written at its end, or "" for standard error. The same
 * file again: it is opened anew, as after its rotation. One for the process. Returns 0, or why it cannot be opened:
 * then all stays as it was. Threads: one at a time. */
int chi_log_open(const char *path);

/* Any thread; one write(2) a line. It never waits for a reader: a line for which there is no room is lost, and counted
 * for the next one. */
void chi_log(enum chi_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define chi_log_error(...) chi_log(CHI_LOG_ERROR, __VA_ARGS__)
#define chi_log_warn(...)  chi_log(CHI_LOG_WARN, __VA_ARGS__)
#define chi_log_info(...)  chi_log(CHI_LOG_INFO, __VA_ARGS__)
#define chi_log_debug(...) chi_log(CHI_LOG_DEBUG, __VA_ARGS__)

/* A place that could be made to repeat itself by a client: at most `burst` lines a second, the rest are counted and
 * told. */
struct chi_log_limit {
	hshm_au64 window_ns;
	hshm_au32 n;
	hshm_au32 n_held_back;
};
bool chi_log_allowed(struct chi_log_limit *limit, uint32_t burst);

#endif
