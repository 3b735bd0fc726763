/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stop.c - chimaera stop: ask, then wait for the hang-up
 */
#include "chimaera.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chimaera/admin.h>
#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "options.h"
#include "output.h"
#include "patience.h"
#include "status_tables.h"

#define ANSWER_MS_MIN 1000u /* a shorter timeout shall not keep the request from arriving */
#define LOOK_EVERY_US 10000u
#define DOT_EVERY_NS  HSHM_NSEC_PER_SEC

struct arguments {
	const char *name;
	uint64_t timeout_ms;
};

static const struct argp_option options[] = {
	{ "timeout", 't', "MS", 0, "Wait at most so many milliseconds (60000)", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case 't':
		arguments->timeout_ms = parse_number(state, "--timeout", value, 0, TIMEOUT_MS_MAX);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->name;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = NAME_CHILD,
	.doc = "Ask a runtime to end and wait until it has: tasks in flight end first.\v"
	       "Tasks that have not ended within stop_timeout_ms of its configuration are given up.\n\n"
	       "Exit codes: 0 it has ended, and all tasks with it; 1 it has not ended in that time, or gave tasks up, "
	       "or died meanwhile; 2 wrong usage; 3 there is none.",
};

/* Until it hangs up: 0, or -ETIMEDOUT. */
static int wait_for_end(struct chi_client *client, uint64_t started_ns, uint64_t timeout_ns)
{
	uint64_t dots = 0;
	bool on_terminal = isatty(STDERR_FILENO);
	int error = 0;

	while (!error && chi_client_alive(client) == 0) {
		uint64_t waited_ns = hshm_clock_ns() - started_ns;

		if (waited_ns >= timeout_ns)
			error = -ETIMEDOUT;
		for (; on_terminal && dots < waited_ns / DOT_EVERY_NS; dots++)
			fputs(dots ? "." : "chimaera: waiting for tasks in flight .", stderr);
		HSHM_THREAD_MODEL->sleep_for_us(LOOK_EVERY_US);
	}
	if (dots)
		fputc('\n', stderr);
	return error;
}

static int has_not_ended(const struct arguments *arguments, int error)
{
	const char *name = shown_name(arguments->name);

	if (error == -ETIMEDOUT)
		fprintf(stderr, "chimaera: runtime '%s' has not ended within %g s; it goes on ending\n", name,
			(double)arguments->timeout_ms / 1e3);
	else
		fprintf(stderr, "chimaera: runtime '%s' has not ended: %s\n", name, strerror(-error));
	return EXIT_FAILED;
}

static int say_end(struct chi_client *client, const char *name)
{
	uint64_t n_given_up = 0;
	int error = chi_client_runtime_end(client, &n_given_up);

	if (error) {
		fprintf(stderr, "chimaera: runtime '%s' has ended, but not in order: %s\n", shown_name(name),
			chi_error_text());
		return EXIT_FAILED;
	}
	if (n_given_up) {
		fprintf(stderr,
			"chimaera: runtime '%s' has ended, but gave up %" PRIu64
			" task%s that had not ended in time: its log names pools and methods\n",
			shown_name(name), n_given_up, n_given_up == 1 ? "" : "s");
		return EXIT_FAILED;
	}
	printf("chimaera: runtime '%s' has ended\n", shown_name(name));
	return end_output();
}

/* Somebody has asked before us, and there is nobody to tell us how it went: its counters file goes in an orderly end,
 * and stays behind one that was killed. */
static int wait_for_end_of_other(const struct arguments *arguments, uint64_t started_ns)
{
	const char *name = shown_name(arguments->name), *state;

	keep_patience();
	while (living_pid(arguments->name, &state) && strcmp(state, "running") != 0) {
		if (hshm_clock_ns() - started_ns >= arguments->timeout_ms * HSHM_NSEC_PER_MSEC)
			return has_not_ended(arguments, -ETIMEDOUT);
		HSHM_THREAD_MODEL->sleep_for_us(LOOK_EVERY_US);
	}
	if (strcmp(state, "ended") == 0) {
		fprintf(stderr, "chimaera: runtime '%s' has ended, but not in order: it died before it had stopped\n",
			name);
		return EXIT_FAILED;
	}
	/* another of that name: then this one has gone */
	if (strcmp(state, "gone") != 0 && strcmp(state, "running") != 0) {
		fprintf(stderr, "chimaera: whether runtime '%s' has ended cannot be told: %s\n", name,
			chi_error_text());
		return EXIT_FAILED;
	}
	printf("chimaera: runtime '%s' has ended; its log tells whether it gave tasks up\n", name);
	return end_output();
}

static bool is_stopping(const char *name)
{
	const char *state;

	return living_pid(name, &state) && strcmp(state, "stopping") == 0;
}

int command_stop(int argc, char **argv)
{
	struct arguments arguments = { .timeout_ms = 60000 };
	uint64_t started_ns = hshm_clock_ns();
	struct chi_client *client;
	int error = parse_arguments(&argp, argc, argv, &arguments);

	if (!error)
		error = connect_to(arguments.name,
				   arguments.timeout_ms < ANSWER_MS_MIN ? ANSWER_MS_MIN : arguments.timeout_ms,
				   &client);
	if (error == EXIT_FAILED && is_stopping(arguments.name))
		return wait_for_end_of_other(&arguments, started_ns);
	if (error)
		return error;
	error = chi_stop(client);
	keep_patience();
	/* it may have gone before it could answer, or be on its way already */
	if (error == 0 || error == -EOWNERDEAD || error == -ESHUTDOWN)
		error = wait_for_end(client, started_ns, arguments.timeout_ms * HSHM_NSEC_PER_MSEC);
	error = error ? has_not_ended(&arguments, error) : say_end(client, arguments.name);
	chi_client_disconnect(client);
	return error;
}
