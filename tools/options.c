/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.c - the options that several commands have
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chimaera.h"

int parse_arguments(const struct argp *argp, int argc, char **argv, void *input)
{
	static char help[] = "--help";

	if (argc == 2 && strcmp(argv[1], "-h") == 0) /* argp has -? alone */
		argv[1] = help;
	argp_err_exit_status = EXIT_USAGE;
	return argp_parse(argp, argc, argv, 0, NULL, input) ? EXIT_USAGE : EXIT_OK;
}

static error_t parse_name(int key, char *value, struct argp_state *state)
{
	switch (key) {
	case 'n':
		*(const char **)state->input = value;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", value);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp name_argp = {
	.options =
		(const struct argp_option[]){
			{ "name", 'n', "NAME", 0, "Name of the runtime ($CHIMAERA_NAME, else \"default\")", 0 },
			{ 0 },
		},
	.parser = parse_name,
};

static error_t parse_json(int key, char *value, struct argp_state *state)
{
	(void)value;
	if (key != 'j')
		return ARGP_ERR_UNKNOWN;
	*(bool *)state->input = true;
	return 0;
}

const struct argp json_argp = {
	.options = (const struct argp_option[]){ { "json", 'j', NULL, 0, "One line of JSON", 0 }, { 0 } },
	.parser = parse_json,
};

uint64_t parse_number(struct argp_state *state, const char *option, const char *value, uint64_t min, uint64_t max)
{
	unsigned long long number;
	char *end;

	errno = 0;
	number = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)*value) || *end || errno || number < min || number > max)
		argp_error(state, "%s: '%s' is no number from %" PRIu64 " to %" PRIu64, option, value, min, max);
	return number;
}

void add_setting(struct argp_state *state, struct config_options *options, const char *key, const char *value)
{
	char **settings = realloc(options->settings, (options->n_settings + 2) * sizeof(*settings));
	char *setting;

	if (settings)
		options->settings = settings;
	if (!settings || asprintf(&setting, "%s%s%s", key, *key ? "=" : "", value) < 0) {
		argp_failure(state, EXIT_FAILED, 0, "no memory for the options");
		return;
	}
	settings[options->n_settings++] = setting;
	settings[options->n_settings] = NULL;
}

void free_config_options(struct config_options *options)
{
	for (size_t i = 0; i < options->n_settings; i++)
		free(options->settings[i]);
	free(options->settings);
}

static error_t parse_config(int key, char *value, struct argp_state *state)
{
	struct config_options *options = state->input;

	switch (key) {
	case 'c':
		options->file = value;
		return 0;
	case 's':
		if (!strchr(value, '='))
			argp_error(state, "--set: '%s' is no KEY=VALUE", value);
		add_setting(state, options, "", value);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp config_argp = {
	.options =
		(const struct argp_option[]){
			{ "config", 'c', "FILE", 0, "Configuration (YAML); without one all keys have their defaults",
			  0 },
			{ "set", 's', "KEY=VALUE", 0, "Set a key, over file and environment; may be repeated", 0 },
			{ 0 },
		},
	.parser = parse_config,
};

struct chi_runtime_opts runtime_opts(const struct config_options *options, const char *name)
{
	return CHI_RUNTIME_OPTS(.listen = true, .config_file = options->file, .name = name, .environment = true,
				.settings = (const char *const *)options->settings, .handle_faults = true);
}
