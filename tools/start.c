/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * start.c - chimaera start --foreground: the daemon
 */
#include "chimaera.h"

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

#include "options.h"

struct arguments {
	bool foreground;
	const char *name;
	struct config_options config;
};

enum { OPTION_FOREGROUND = 0x100 };

static const struct argp_option options[] = {
	{ "foreground", OPTION_FOREGROUND, NULL, 0, "Stay in the foreground: the only way so far", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	(void)value;
	switch (key) {
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
	       "It is ready when it says so on its standard output. SIGTERM, SIGINT and `chimaera stop' let tasks in "
	       "flight end, up to stop_timeout_ms of the configuration.",
};

/* Signals, or chi_stop() by a client: whichever comes first. A thread waits for each, since neither can wait for both. */
static void *wait_for_stop(void *arg)
{
	chi_runtime_wait_stop(arg, HSHM_FOREVER);
	kill(getpid(), SIGTERM);
	return NULL;
}

static void block_signals(sigset_t *set)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	/* before any thread is made: all inherit it */
	pthread_sigmask(SIG_BLOCK, set, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

/* A method that never returns cannot be stopped, only left: whoever asks a second time wants that. */
static void *wait_for_second_signal(void *arg)
{
	static const char text[] = "chimaera: a second signal: ended at once, tasks in flight are given up\n";
	siginfo_t info;
	ssize_t n;

	do {
		if (sigwaitinfo(arg, &info) < 0)
			info.si_pid = getpid();
	} while (info.si_pid == getpid()); /* the waiter's */
	n = write(STDERR_FILENO, text, sizeof(text) - 1);
	(void)n;
	_exit(EXIT_FAILED);
}

static int serve(struct chi_runtime *runtime, const sigset_t *signals)
{
	uint64_t n_given_up = 0;
	pthread_t waiter;
	int signal_number, error;

	error = pthread_create(&waiter, NULL, wait_for_stop, runtime);
	if (error) {
		fprintf(stderr, "chimaera: %s\n", strerror(error));
		chi_runtime_stop(runtime, 0, NULL);
		return EXIT_FAILED;
	}
	printf("chimaera: ready (%s, pid %d, %s)\n", chi_runtime_name(runtime), (int)getpid(),
	       chi_runtime_socket(runtime));
	fflush(stdout);
	sigwait(signals, &signal_number);
	/* when it was a signal from outside, the waiter waits still; its own signal stays pending and harms nobody */
	chi_runtime_request_stop(runtime);
	pthread_join(waiter, NULL);
	if (pthread_create(&waiter, NULL, wait_for_second_signal, (void *)(uintptr_t)signals) == 0)
		pthread_detach(waiter);
	error = chi_runtime_stop(runtime, 0, &n_given_up);
	if (error)
		fprintf(stderr, "chimaera: ended, but %llu tasks were given up\n", (unsigned long long)n_given_up);
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

int command_start(int argc, char **argv)
{
	struct arguments arguments = { 0 };
	struct chi_runtime_opts opts;
	struct chi_runtime *runtime;
	sigset_t signals;
	int error = parse_arguments(&argp, argc, argv, &arguments);

	if (error)
		return error;
	if (!arguments.foreground) {
		fprintf(stderr, "chimaera: start needs --foreground; to run it in the background, give it to a "
				"supervisor (systemd) or to the shell (&)\n");
		return EXIT_USAGE;
	}
	block_signals(&signals);
	raise_descriptor_limit();
	opts = runtime_opts(&arguments.config, arguments.name);
	error = chi_runtime_start(&opts, &runtime);
	free(arguments.config.settings);
	if (error) {
		fprintf(stderr, "chimaera: cannot start: %s\n",
			*chi_error_text() ? chi_error_text() : strerror(-error));
		return EXIT_FAILED;
	}
	return serve(runtime, &signals);
}
