/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera.c - one command with subcommands: start, stop, status
 */
#include "chimaera.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chimaera/task.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "start", command_start, "run a runtime that other processes can use" },
	{ "stop", command_stop, "ask a runtime to end, and wait until it has" },
	{ "config", command_config, "show the configuration that a start would have, and where each value is from" },
	{ "new-module", command_new_module, "write a module that builds and passes its test, to begin with" },
	{ "status", command_status, "show who runs and what it has counted, also when it hangs or was killed" },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *out)
{
	fprintf(out, "Usage: chimaera COMMAND [OPTION...]\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
	fprintf(out, "\n`chimaera COMMAND --help' tells a command's options. Also: --help, --version.\n"
		     "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no runtime of that name.\n");
}

const char *shown_name(const char *name)
{
	const char *from_environment = getenv("CHIMAERA_NAME");

	if (name)
		return name;
	return from_environment && *from_environment ? from_environment : "default";
}

int connect_to(const char *name, struct chi_client **ret_client)
{
	int error = chi_client_connect(&CHI_CLIENT_OPTS(.name = name), ret_client);

	if (!error)
		return EXIT_OK;
	fprintf(stderr, "chimaera: runtime '%s': %s\n", shown_name(name),
		*chi_error_text() ? chi_error_text() : strerror(-error));
	if (error != -ENOENT && error != -ECONNREFUSED)
		return EXIT_FAILED;
	fprintf(stderr, "chimaera: start one with: chimaera start%s%s\n", name ? " --name " : "", name ? name : "");
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
	const char *name = argc > 1 ? argv[1] : "";

	open_standard_descriptors();
	signal(SIGPIPE, SIG_IGN); /* what cannot be written is told, or is nobody's */
	if (strcmp(name, "--help") == 0 || strcmp(name, "-?") == 0) {
		print_usage(stdout);
		return EXIT_OK;
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		printf("chimaera %s\n", CHIMAERA_VERSION);
		return EXIT_OK;
	}
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0) {
			char shown[32];

			snprintf(shown, sizeof(shown), "chimaera %s", name);
			argv[1] = shown;
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	if (argc > 1)
		fprintf(stderr, "chimaera: there is no command '%s'\n", name);
	print_usage(stderr);
	return EXIT_USAGE;
}
