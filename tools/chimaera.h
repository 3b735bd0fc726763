/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera.h - the subcommands of `chimaera`, one file each
 */
#ifndef TOOLS_CHIMAERA_H
#define TOOLS_CHIMAERA_H

#include <argp.h>

#include <chimaera/client.h>

/* What a shell sees. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_RUNTIME = 3, /* none runs under that name */
};

int command_start(int argc, char **argv);
int command_stop(int argc, char **argv);
int command_status(int argc, char **argv);

/* argp_parse() with the exit code of wrong usage; argv[0] is shown as the program's name */
int parse_arguments(const struct argp *argp, int argc, char **argv, void *input);

/* A child for the argp of each command that speaks to a runtime, or is one: --name into its input, a const char *. Arguments that
 * the command does not take itself are refused. */
extern const struct argp name_argp;
#define NAME_CHILD ((const struct argp_child[]){ { &name_argp, 0, NULL, 0 }, { 0 } })

/* The name that was asked for, or that is meant without one. */
const char *shown_name(const char *name);

/* Connect, or say why not on stderr: EXIT_OK, EXIT_NO_RUNTIME or EXIT_FAILED. */
int connect_to(const char *name, struct chi_client **ret_client);

#endif
