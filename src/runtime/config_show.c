/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_show.c - the configuration that a start would have, key by key, with where each value comes from
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <chimaera/runtime.h>

#include "runtime/config_internal.h"
#include "runtime/runtime.h"
#include "task/error.h"

static int show_key(const struct chi_config_layers *layers, const struct chi_config *config,
		    const struct chi_config *defaults, size_t i, const struct chi_config_origin *origin,
		    chi_runtime_config_fn *fn, void *arg)
{
	const struct chi_config_key *key = &chi_config_keys[i];
	char source[CHI_CONFIG_PATH_MAX + 32], variable[CHI_CONFIG_VARIABLE_MAX], allowed[CHI_CONFIG_ALLOWED_MAX];
	const char *limits;
	char *value = chi_config_value_text(config, key), *default_value = chi_config_value_text(defaults, key);
	int error = value && default_value ? 0 : chi_error_set(-ENOMEM, "no memory to show the configuration");

	chi_config_origin_text(layers, i, origin, source, sizeof(source));
	chi_config_variable(key, variable);
	chi_config_describe_allowed(key, allowed);
	limits = allowed + strlen("allowed") + strspn(allowed + strlen("allowed"), ": ");
	if (!error)
		fn(
			&(struct chi_config_value){
				.key = key->path,
				.value = value,
				.source = source,
				.default_value = default_value,
				.unit = key->unit,
				.allowed = limits,
				.meaning = key->help,
				.variable = variable,
				.live = key->live,
			},
			arg);
	free(value);
	free(default_value);
	return error;
}

int chi_runtime_config(const struct chi_runtime_opts *caller_opts, chi_runtime_config_fn *fn, void *arg)
{
	struct chi_config_origin origins[CHI_CONFIG_KEYS_MAX];
	struct chi_config config, defaults;
	struct chi_config_layers layers;
	struct chi_runtime_opts opts;
	int error = chi_runtime_check_opts(caller_opts, &opts);

	if (error)
		return error;
	layers = chi_runtime_layers(&opts);
	error = chi_config_load(&layers, &config, origins);
	if (error)
		return error;
	chi_config_defaults(&defaults);
	for (size_t i = 0; i < chi_config_n_keys && !error; i++)
		error = show_key(&layers, &config, &defaults, i, &origins[i], fn, arg);
	chi_config_free(&config);
	return error;
}
