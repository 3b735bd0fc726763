/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.h - the options that several commands have, as children of their argp
 *
 * The parser of the command gives the inputs at ARGP_KEY_INIT: state->child_inputs[0] = &arguments->name, and so on in
 * the order of the children.
 */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include <argp.h>
#include <stddef.h>
#include <stdint.h>

#include <chimaera/runtime.h>

/* argp_parse() with the exit code of wrong usage; argv[0] is shown as the program's name */
int parse_arguments(const struct argp *argp, int argc, char **argv, void *input);

/* --name; the input is a const char *. Arguments that the command does not take itself are refused. */
extern const struct argp name_argp;

/* --json; the input is a bool. */
extern const struct argp json_argp;

/* A decimal number from @min to @max, nothing before or behind it; else it is wrong usage, and @option is named. */
uint64_t parse_number(struct argp_state *state, const char *option, const char *value, uint64_t min, uint64_t max);

/* --config and --set */
struct config_options {
	const char *file;
	char **settings; /* the last one NULL; or NULL */
	size_t n_settings;
};
extern const struct argp config_argp;
/* As if --set KEY=VALUE stood there; with "" for @key: --set VALUE. */
void add_setting(struct argp_state *state, struct config_options *options, const char *key, const char *value);
void free_config_options(struct config_options *options);

#define NAME_CHILD ((const struct argp_child[]){ { &name_argp, 0, NULL, 0 }, { 0 } })
#define JSON_CHILD ((const struct argp_child[]){ { &json_argp, 0, NULL, 0 }, { 0 } })
#define NAME_JSON_CHILDREN \
	((const struct argp_child[]){ { &name_argp, 0, NULL, 0 }, { &json_argp, 0, NULL, 0 }, { 0 } })
#define NAME_CONFIG_CHILDREN \
	((const struct argp_child[]){ { &name_argp, 0, NULL, 0 }, { &config_argp, 0, NULL, 0 }, { 0 } })

/* What a daemon is started with. */
struct chi_runtime_opts runtime_opts(const struct config_options *options, const char *name);

#endif
