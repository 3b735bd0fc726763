/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.c - the options that several commands have
 */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>

#include "chimaera.h"

int parse_arguments(const struct argp *argp, int argc, char **argv, void *input)
{
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
		argp_error(state, "'%s' is too much", value);
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
