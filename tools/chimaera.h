/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera.h - the subcommands of `chimaera`, one file each
 */
#ifndef TOOLS_CHIMAERA_H
#define TOOLS_CHIMAERA_H

#include <stdint.h>

#include <chimaera/client.h>

/* What a shell sees. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_RUNTIME = 3, /* none runs under that name */
};

struct command {
	const char *name; /* NULL ends a table */
	int (*run)(int argc, char **argv);
	const char *help;
};

#define CODES_OF_RUNTIMES "0 done, 1 failed, 2 wrong usage, 3 no runtime of that name"

/* Run the command that argv[1] names; argv[0] is shown as the program's name, in front of the command's. @codes: the
 * exit codes that they have, for the help. */
int run_command(const struct command *commands, const char *what, const char *codes, int argc, char **argv);

int command_config(int argc, char **argv);
int command_module(int argc, char **argv);
int command_new_module(int argc, char **argv);
int command_pool(int argc, char **argv);
int command_start(int argc, char **argv);
int command_stop(int argc, char **argv);
int command_status(int argc, char **argv);

/* The name that was asked for, or that is meant without one. */
const char *shown_name(const char *name);

/* "chimaera: runtime 'NAME': WHY", with the thread's error text or the errno's. Returns EXIT_FAILED. */
int say_failed(const char *name, int error);

/* Connect, or say why not on stderr: EXIT_OK, EXIT_NO_RUNTIME or EXIT_FAILED. Until keep_patience() the command has so
 * many milliseconds for all that it asks (patience.h). */
int connect_to(const char *name, uint64_t timeout_ms, struct chi_client **ret_client);

#endif
