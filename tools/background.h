/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * background.h - a daemon tells the command that started it how the start went
 */
#ifndef TOOLS_BACKGROUND_H
#define TOOLS_BACKGROUND_H

#include <stdbool.h>

/* Go on in a new process without a terminal, and return the descriptor for its report there. The caller's process stays
 * until it has the report, prints it and ends with its exit code: to the shell, that is the end of the command. -1: no
 * such process, told on stderr. Until it reports, the new process gets a SIGTERM when the caller's ends. Threads:
 * before any is made. */
int go_to_background(void);

/* Once, by the same thread: the exit code for the waiting process, and what it prints, on standard output if the code
 * is 0, else on standard error. */
void report(int report_fd, int exit_code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* From here on standard output and error are the end of that file. False: it cannot be opened; they stay what they
 * were. */
bool redirect_output(const char *path);

#endif
