/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * patience.c - an alarm clock: whatever a command waits for (the connection, room in the lane, the answer), it ends the
 * wait
 *
 * The runtime sees a client that has gone, as after a signal; what it had taken by then it does.
 */
#include "patience.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <chimaera/counters.h>

#include "chimaera.h"
#include "status_tables.h"

static char complaint[512]; /* written before the alarm is set */

static void give_up(int signal_number)
{
	(void)signal_number;
	if (write(STDERR_FILENO, complaint, strlen(complaint)) < 0)
		_exit(EXIT_FAILED);
	_exit(EXIT_FAILED);
}

/* What helps: a process that is stopped takes no SIGTERM. */
static void write_remedy(char *text, size_t size, uint64_t pid, const char *state)
{
	if (strcmp(state, "stopped by a signal") == 0)
		snprintf(text, size, "; it is %s: kill -CONT %" PRIu64 " lets it go on", state, pid);
	else if (strcmp(state, "stopped by a debugger") == 0)
		snprintf(text, size, "; it is %s", state);
	else
		snprintf(text, size, "; kill -TERM %" PRIu64 " ends it", pid);
}

static void write_complaint(const char *name, uint64_t timeout_ms)
{
	const char *state;
	uint64_t pid = living_pid(name, &state);
	char who[32] = "", how[96] = "";

	if (pid) {
		snprintf(who, sizeof(who), " (pid %" PRIu64 ")", pid);
		write_remedy(how, sizeof(how), pid, state);
	}
	snprintf(complaint, sizeof(complaint),
		 "chimaera: runtime '%.200s'%s does not answer within %g s; see chimaera status%s\n", shown_name(name),
		 who, (double)timeout_ms / 1e3, how);
}

static void set_alarm(uint64_t ms)
{
	struct itimerval timer = {
		.it_value = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) },
	};

	setitimer(ITIMER_REAL, &timer, NULL);
}

void lose_patience_after(const char *name, uint64_t timeout_ms)
{
	struct sigaction action = { .sa_handler = give_up };
	sigset_t alarm_only;

	timeout_ms = timeout_ms ? timeout_ms : 1;
	write_complaint(name, timeout_ms);
	sigaction(SIGALRM, &action, NULL);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarm_only, NULL); /* whoever started us may have blocked it */
	set_alarm(timeout_ms);
}

void keep_patience(void)
{
	set_alarm(0);
}
