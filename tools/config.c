/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.c - chimaera config: the configuration that a start would have, without starting
 */
#include "chimaera.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json_tokener.h>

#include "options.h"
#include "output.h"

struct arguments {
	const char *name;
	struct config_options config;
	bool json, keys;
};

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "One JSON object: for each key its value, source, default, limits", 0 },
	{ "keys", 'k', NULL, 0, "A list of the keys: default, what is allowed, variable, meaning", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	(void)value;
	switch (key) {
	case 'j':
		arguments->json = true;
		return 0;
	case 'k':
		arguments->keys = true;
		return 0;
	case ARGP_KEY_END:
		if (arguments->json && arguments->keys)
			argp_error(state, "--keys or --json, not both");
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
	.doc = "Show the configuration that `chimaera start' would have with the same options and environment.\v"
	       "What is printed is a configuration file; behind each value stands where it comes from: default, "
	       "FILE:LINE:COLUMN, a variable of the environment, an option.\n"
	       "Exit codes: 0 shown, 1 the configuration is refused, 2 wrong usage.",
};

/* ---- as a configuration file ---- */

static void add_yaml(const struct chi_config_value *value, void *arg)
{
	static char group[32];
	const char *leaf = strchr(value->key, '.');
	size_t n = leaf ? (size_t)(leaf - value->key) : 0;
	FILE *out = arg;

	if (n && strncmp(group, value->key, n + 1) != 0) {
		snprintf(group, sizeof(group), "%.*s.", (int)n, value->key);
		fprintf(out, "%.*s:\n", (int)n, group);
	}
	fprintf(out, "%s%s: %s\t# %s\n", leaf ? "  " : "", leaf ? leaf + 1 : value->key, value->value, value->source);
}

static void add_key(const struct chi_config_value *value, void *arg)
{
	FILE *out = arg;

	fprintf(out, "%s\t%s %s\t%s\t%s\t%s\n", value->key, value->default_value, value->unit, value->allowed,
		value->variable, value->meaning);
}

static int print_lines(const struct chi_runtime_opts *opts, bool keys)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int error = -1;

	if (!out)
		return EXIT_FAILED;
	if (keys)
		fprintf(out, "KEY\tDEFAULT\tALLOWED\tVARIABLE\tMEANING\n");
	error = chi_runtime_config(opts, keys ? add_key : add_yaml, out);
	fclose(out);
	if (!error)
		print_aligned(text);
	free(text);
	return error ? EXIT_FAILED : end_output();
}

/* ---- as JSON ---- */

/* The text of a value is JSON, unless it is a plain word. */
static struct json_object *json_of_value(const char *text)
{
	struct json_object *value = json_tokener_parse(text);

	return value ? value : json_object_new_string(text);
}

static void add_json(const struct chi_config_value *value, void *arg)
{
	struct json_object *key = json_object_new_object();

	json_object_object_add(key, "value", json_of_value(value->value));
	json_object_object_add(key, "source", json_object_new_string(value->source));
	json_object_object_add(key, "default", json_of_value(value->default_value));
	json_object_object_add(key, "unit", json_object_new_string(value->unit));
	json_object_object_add(key, "allowed", json_object_new_string(value->allowed));
	json_object_object_add(key, "variable", json_object_new_string(value->variable));
	json_object_object_add(key, "live", json_object_new_boolean(value->live));
	json_object_object_add(key, "meaning", json_object_new_string(value->meaning));
	json_object_object_add(arg, value->key, key);
}

static int print_as_json(const struct chi_runtime_opts *opts)
{
	struct json_object *root = json_object_new_object();

	if (chi_runtime_config(opts, add_json, root)) {
		json_object_put(root);
		return EXIT_FAILED;
	}
	return print_json(root);
}

int command_config(int argc, char **argv)
{
	struct arguments arguments = { 0 };
	struct chi_runtime_opts opts;
	int error = parse_arguments(&argp, argc, argv, &arguments);

	if (error)
		return error;
	opts = runtime_opts(&arguments.config, arguments.name);
	error = arguments.json ? print_as_json(&opts) : print_lines(&opts, arguments.keys);
	if (error && *chi_error_text())
		fprintf(stderr, "chimaera: %s\n", chi_error_text());
	free_config_options(&arguments.config);
	return error;
}
