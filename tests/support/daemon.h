/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/daemon.h - a runtime in a process of its own: started, killed, started again
 */
#ifndef TESTS_SUPPORT_DAEMON_H
#define TESTS_SUPPORT_DAEMON_H

#include <sys/types.h>

/* `chimaera start --foreground --name @name` with @config_text; returns its pid when it is ready, or -1: it has
 * ended, or was not ready after 30 s and was killed. What it said is on stderr. */
pid_t daemon_start(const char *name, const char *config_text);
/* The same, and does not wait until it is ready. */
pid_t daemon_launch(const char *name, const char *config_text);
/* Stop it by SIGSTOP, until SIGCONT. Returns when all its threads stand still: 0, or -1. */
int daemon_freeze(pid_t pid);
/* Send a signal (0: none) and wait for its end. Returns the status of waitpid(), or -1 when it had not ended after 30 s and was
 * killed. */
int daemon_end(pid_t pid, int signal);

#endif
