/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera.h - the subcommands of `chimaera`, one file each
 */
#ifndef TOOLS_CHIMAERA_H
#define TOOLS_CHIMAERA_H

#include <chimaera/client.h>

/* What a shell sees. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_RUNTIME = 3, /* none runs under that name */
};

int command_config(int argc, char **argv);
int command_new_module(int argc, char **argv);
int command_start(int argc, char **argv);
int command_stop(int argc, char **argv);
int command_status(int argc, char **argv);

/* The name that was asked for, or that is meant without one. */
const char *shown_name(const char *name);

/* Connect, or say why not on stderr: EXIT_OK, EXIT_NO_RUNTIME or EXIT_FAILED. */
int connect_to(const char *name, struct chi_client **ret_client);

#endif
