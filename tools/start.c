/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * start.c - chimaera start: the daemon, in the background or, for a supervisor, in the foreground
 */
#include "chimaera.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chimaera/runtime.h>
#include <hshm/clock.h>

#include "background.h"
#include "notify.h"
#include "options.h"

#define START_GRACE_S  2       /* for a start that was asked to end */
#define SIGNAL_STARTED SIGUSR1 /* to the thread that watches the start, from the main one */

struct arguments {
	bool foreground;
	const char *name;
	struct config_options config;
};

enum { OPTION_FOREGROUND = 0x100 };

static const struct argp_option options[] = {
	{ "foreground", OPTION_FOREGROUND, NULL, 0, "Do not go to the background: for a supervisor", 0 },
	{ "log", 'l', "FILE", 0, "Log to FILE: the same as --set log_file=FILE", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'l':
		add_setting(state, &arguments->config, "log_file", value);
		return 0;
	case OPTION_FOREGROUND:
		arguments->foreground = true;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->name;
		state->child_inputs[1] = &arguments->config;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = NAME_CONFIG_CHILDREN,
	.doc = "Run a runtime that other processes can use.\v"
	       "It returns when tasks can be served; the daemon goes on in the background. Its log is then NAME.log "
	       "beside its socket (in $XDG_RUNTIME_DIR/chimaera, /run/chimaera-UID or $TMPDIR/chimaera-UID), or "
	       "log_file of the configuration. With --foreground it says on its standard output when it is ready, "
	       "tells systemd, too, and logs to its standard error.\n\n"
	       "SIGTERM, SIGINT and `chimaera stop' let tasks in flight end, up to stop_timeout_ms of the "
	       "configuration; a second signal ends it at once, and so does one before it serves (^C as well). SIGHUP "
	       "reads the configuration again and opens the log file anew; what cannot change while it runs is named "
	       "in the log.\n\n"
	       "Exit codes: 0 it serves (--foreground: it has ended, with all tasks done), 1 it could not start (or "
	       "tasks were given up), 2 wrong usage.",
};

/* Signals, or chi_stop() by a client: whichever comes first. A thread waits for each, since neither can wait for
 * both. */
static void *wait_for_stop(void *arg)
{
	chi_runtime_wait_stop(arg, HSHM_FOREVER);
	kill(getpid(), SIGTERM);
	return NULL;
}

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	/* before any thread is made: all inherit it */
	pthread_sigmask(SIG_BLOCK, set, NULL);
}

static void end_at_once(int signal_number)
{
	(void)signal_number;
	_exit(EXIT_FAILED);
}

/* Whoever asks a second time does not want to wait for tasks in flight; nor for whoever reads our standard error. */
static void *wait_for_second_signal(void *arg)
{
	static const char text[] = "chimaera: a second signal: ended at once, tasks in flight are given up\n";
	sigset_t alarm_set;
	siginfo_t info;
	ssize_t n;

	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	signal(SIGALRM, end_at_once);
	pthread_sigmask(SIG_UNBLOCK, &alarm_set, NULL);
	do {
		if (sigwaitinfo(arg, &info) < 0)
			info.si_pid = getpid();
	} while (info.si_pid == getpid() || info.si_signo == SIGHUP); /* the waiter's; nothing to reload any more */
	alarm(1);
	n = write(STDERR_FILENO, text, sizeof(text) - 1);
	(void)n;
	_exit(EXIT_FAILED);
}

/* What is over once the runtime serves: a signal would then be the main thread's. */
struct start_watch {
	pthread_t thread;
	bool asked_to_end;
};

/* A start can take long: pools that are made, a module's create(). One that is all but over, and may have clients
 * already, gets the time to end in order. */
static void *watch_start(void *arg)
{
	static const struct timespec grace = { .tv_sec = START_GRACE_S };
	struct start_watch *watch = arg;
	sigset_t ends, started;
	int signal_number;

	sigemptyset(&started);
	sigaddset(&started, SIGNAL_STARTED);
	/* SIGHUP stays pending until somebody reads the configuration again */
	ends = started;
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	while (sigwait(&ends, &signal_number) != 0)
		continue;
	if (signal_number == SIGNAL_STARTED)
		return NULL;
	watch->asked_to_end = true;
	while (sigtimedwait(&started, NULL, &grace) < 0)
		if (errno == EAGAIN)
			_exit(EXIT_FAILED);
	return NULL;
}

static int start_watch_begin(struct start_watch *watch)
{
	sigset_t started, before;
	int error;

	sigemptyset(&started);
	sigaddset(&started, SIGNAL_STARTED);
	pthread_sigmask(SIG_BLOCK, &started, &before);
	error = pthread_create(&watch->thread, NULL, watch_start, watch);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

/* Whether somebody wanted the start to end. By a signal of its own, not by pthread_cancel(): a thread that is cancelled
 * in sigwait() may take a SIGTERM with it (glibc's bug 12683). */
static bool start_watch_end(struct start_watch *watch)
{
	pthread_kill(watch->thread, SIGNAL_STARTED);
	pthread_join(watch->thread, NULL);
	return watch->asked_to_end;
}

static void reload(struct chi_runtime *runtime, bool foreground)
{
	const char *log_file;

	notify_reloading();
	chi_runtime_reload(runtime); /* it logs what is wrong, and goes on as before */
	log_file = chi_runtime_log_file(runtime);
	if (!foreground && log_file)
		redirect_output(log_file); /* if it cannot: only what modules print stays in the old one */
	notify_supervisor("READY=1");
}

/* Until somebody wants it to end. */
static void serve(struct chi_runtime *runtime, const sigset_t *signals, bool foreground)
{
	int signal_number = SIGHUP;

	while (sigwait(signals, &signal_number) != 0 || signal_number == SIGHUP)
		reload(runtime, foreground);
}

static int end(struct chi_runtime *runtime, const sigset_t *signals, pthread_t stop_waiter)
{
	uint64_t n_given_up = 0;
	pthread_t waiter;
	int error;

	notify_supervisor("STOPPING=1");
	/* when it was a signal from outside, the waiter waits still; its own signal stays pending and harms nobody */
	chi_runtime_request_stop(runtime);
	pthread_join(stop_waiter, NULL);
	if (pthread_create(&waiter, NULL, wait_for_second_signal, (void *)(uintptr_t)signals) == 0)
		pthread_detach(waiter);
	error = chi_runtime_stop(runtime, 0, &n_given_up);
	if (error)
		fprintf(stderr, "chimaera: ended, but %llu task%s given up\n", (unsigned long long)n_given_up,
			n_given_up == 1 ? " was" : "s were");
	/* a thread is in a method that does not return, and may use all that exit() would take away */
	if (error == -EBUSY)
		_exit(EXIT_FAILED);
	return error ? EXIT_FAILED : EXIT_OK;
}

/* A client takes a socket, a process descriptor and an eventfd for each of its lanes: the usual 1,024 are soon gone. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit); /* refused: we go on with what there is */
	}
}

static void say_ready(const struct chi_runtime *runtime, int report_fd)
{
	const char *log_file = chi_runtime_log_file(runtime);
	char text[512];

	snprintf(text, sizeof(text), "chimaera: ready (%s, pid %d, %s)", chi_runtime_name(runtime), (int)getpid(),
		 chi_runtime_socket(runtime));
	notify_supervisor("READY=1");
	if (report_fd < 0) {
		puts(text);
		fflush(stdout);
		return;
	}
	/* what the caller gave us is let go of in any case: somebody may wait for its end */
	if (!log_file || !redirect_output(log_file))
		redirect_output("/dev/null");
	report(report_fd, EXIT_OK, "%s\nchimaera: its log is %s\n", text, log_file ? log_file : "lost");
}

static void say_why_not(int error, int report_fd)
{
	const char *why = *chi_error_text() ? chi_error_text() : strerror(-error);

	if (report_fd < 0)
		fprintf(stderr, "chimaera: cannot start: %s\n", why);
	else
		report(report_fd, EXIT_FAILED, "chimaera: cannot start: %s\n", why);
}

static int start_and_serve(const struct chi_runtime_opts *opts, int report_fd)
{
	bool foreground = report_fd < 0;
	struct start_watch watch = { 0 };
	pthread_t stop_waiter;
	struct chi_runtime *runtime;
	sigset_t signals;
	int error;

	block_signals(&signals);
	raise_descriptor_limit();
	error = start_watch_begin(&watch);
	if (!error)
		error = chi_runtime_start(opts, &runtime);
	if (!error) {
		error = -pthread_create(&stop_waiter, NULL, wait_for_stop, runtime);
		if (error)
			chi_runtime_stop(runtime, 0, NULL);
	}
	if (error) {
		say_why_not(error, report_fd);
		_exit(EXIT_FAILED); /* a module's code may run still, and use what exit() would take away */
	}
	say_ready(runtime, report_fd);
	if (!start_watch_end(&watch))
		serve(runtime, &signals, foreground);
	return end(runtime, &signals, stop_waiter);
}

int command_start(int argc, char **argv)
{
	struct arguments arguments = { 0 };
	struct chi_runtime_opts opts;
	int error = parse_arguments(&argp, argc, argv, &arguments);
	int report_fd = -1;

	if (error)
		return error;
	opts = runtime_opts(&arguments.config, arguments.name);
	opts.log_beside_socket = !arguments.foreground;
	if (!arguments.foreground) {
		report_fd = go_to_background();
		if (report_fd < 0)
			return EXIT_FAILED;
	}
	error = start_and_serve(&opts, report_fd);
	free_config_options(&arguments.config);
	return error;
}
