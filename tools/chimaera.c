/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera.c - one command with subcommands
 */
#include "chimaera.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chimaera/task.h>

#include "output.h"
#include "patience.h"
#include "status_tables.h"

static const struct command commands[] = {
	{ "start", command_start, "run a runtime that other processes can use" },
	{ "stop", command_stop, "ask a runtime to end, and wait until it has" },
	{ "status", command_status, "show who runs and what it has counted, also when it hangs or was killed" },
	{ "config", command_config, "show the configuration that a start would have, and where each value is from" },
	{ "pool", command_pool, "make, list and destroy pools" },
	{ "module", command_module, "list modules; check one as the runtime would" },
	{ "new-module", command_new_module, "write a module that builds and passes its test, to begin with" },
	{ 0 },
};

static void print_usage(FILE *out, const struct command *table, const char *program, const char *what,
			const char *codes)
{
	fprintf(out, "Usage: %s COMMAND [OPTION...]\n%s\n\n", program, what);
	for (; table->name; table++)
		fprintf(out, "  %-11s %s\n", table->name, table->help);
	fprintf(out,
		"\n`%s COMMAND --help' tells a command's options. Also: --help, --version.\n"
		"Exit codes: %s.\n",
		program, codes);
}

int run_command(const struct command *table, const char *what, const char *codes, int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "-?") == 0 ||
	    strcmp(name, "help") == 0) {
		print_usage(stdout, table, argv[0], what, codes);
		return end_output();
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		puts(argp_program_version);
		return end_output();
	}
	for (const struct command *command = table; command->name; command++) {
		if (strcmp(command->name, name) == 0) {
			char shown[64];

			snprintf(shown, sizeof(shown), "%s %s", argv[0], name);
			argv[1] = shown;
			return command->run(argc - 1, argv + 1);
		}
	}
	if (argc > 1)
		fprintf(stderr, "%s: there is no command '%s'\n", argv[0], name);
	print_usage(stderr, table, argv[0], what, codes);
	return EXIT_USAGE;
}

const char *shown_name(const char *name)
{
	const char *from_environment = getenv("CHIMAERA_NAME");

	if (name && *name)
		return name;
	return from_environment && *from_environment ? from_environment : "default";
}

int say_failed(const char *name, int error)
{
	fprintf(stderr, "chimaera: runtime '%s': %s\n", shown_name(name),
		*chi_error_text() ? chi_error_text() : strerror(-error));
	return EXIT_FAILED;
}

int connect_to(const char *name, uint64_t timeout_ms, struct chi_client **ret_client)
{
	const char *state;
	int error;

	lose_patience_after(name, timeout_ms);
	error = chi_client_connect(&CHI_CLIENT_OPTS(.name = name), ret_client);

	if (!error)
		return EXIT_OK;
	if (error == -ESHUTDOWN) {
		fprintf(stderr, "chimaera: runtime '%s' (pid %" PRIu64 ") is stopping\n", shown_name(name),
			living_pid(name, &state));
		return EXIT_FAILED;
	}
	say_failed(name, error);
	if (error != -ENOENT && error != -ECONNREFUSED)
		return EXIT_FAILED;
	if (!strchr(shown_name(name), '/')) /* no runtime can be given a socket's path for its name */
		fprintf(stderr, "chimaera: start one with: chimaera start%s%s\n", name && *name ? " --name " : "",
			name ? name : "");
	return EXIT_NO_RUNTIME;
}

/* A closed one would be the number of the next socket, and what is printed would go there. */
static void open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	static char program[] = "chimaera";

	open_standard_descriptors();
	signal(SIGPIPE, SIG_IGN); /* what cannot be written is told, or is nobody's */
	argp_program_version = "chimaera " CHIMAERA_VERSION;
	argp_program_bug_address = NULL;
	if (argc > 0)
		argv[0] = program;
	return run_command(commands, "Run a Chimaera runtime, look at it, and end it.", CODES_OF_RUNTIMES, argc, argv);
}
