/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.c - the layers of the configuration, one over the other: defaults, file, environment, command line
 */
#include "runtime/config.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/config_internal.h"
#include "runtime/log.h"
#include "task/error.h"
#include "task/segment_layout.h"

#define MIB (UINT64_C(1) << 20)

void chi_config_defaults(struct chi_config *config)
{
	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < chi_config_n_keys; i++)
		chi_config_set_default(config, &chi_config_keys[i]);
}

void chi_config_free(struct chi_config *config)
{
	for (uint32_t i = 0; i < config->n_compose; i++)
		free(config->compose[i].params);
	free(config->compose);
	config->compose = NULL;
	config->n_compose = 0;
}

static const char *file_label(const struct chi_config_layers *layers)
{
	return layers->file ? layers->file : layers->text ? "(text)" : "configuration";
}

/* What stands in front of errors about the key. */
static const char *label_of(const struct chi_config_layers *layers, const struct chi_config_key *key,
			    enum chi_config_layer layer, char text[CHI_CONFIG_LABEL_MAX])
{
	char variable[CHI_CONFIG_VARIABLE_MAX];

	switch (layer) {
	case CHI_CONFIG_ENVIRONMENT:
		chi_config_variable(key, variable);
		snprintf(text, CHI_CONFIG_LABEL_MAX, "environment %s", variable);
		return text;
	case CHI_CONFIG_SETTING:
		snprintf(text, CHI_CONFIG_LABEL_MAX, "--set %s", key->path);
		return text;
	case CHI_CONFIG_NAME_OPTION:
		return "--name";
	case CHI_CONFIG_DEFAULT:
	case CHI_CONFIG_FILE:
		break;
	}
	return file_label(layers);
}

/* ---- the layers ---- */

static int set_from_text(struct chi_config_load *load, const struct chi_config_layers *layers,
			 const struct chi_config_key *key, enum chi_config_layer layer, const char *value)
{
	char label[CHI_CONFIG_LABEL_MAX];
	struct chi_config_place place = { .label = label_of(layers, key, layer, label) };

	load->origins[key - chi_config_keys] = (struct chi_config_origin){ .layer = layer };
	if (chi_config_is_list(key))
		return chi_config_read_list(&load->config, &place, key, value);
	return chi_config_set_text(&load->config, &place, key, value, strlen(value));
}

static int apply_environment(struct chi_config_load *load, const struct chi_config_layers *layers)
{
	char name[CHI_CONFIG_VARIABLE_MAX];
	int error = 0;

	for (size_t i = 0; i < chi_config_n_keys && !error; i++) {
		const char *value;

		chi_config_variable(&chi_config_keys[i], name);
		value = secure_getenv(name);
		if (value && *value)
			error = set_from_text(load, layers, &chi_config_keys[i], CHI_CONFIG_ENVIRONMENT, value);
	}
	return error;
}

/* Others may have variables of that beginning, so one that is no key's is told only when it looks like a typing
 * error. */
static void warn_of_variables(void)
{
	char name[CHI_CONFIG_VARIABLE_MAX], variable[CHI_CONFIG_VARIABLE_MAX];

	for (char **entry = environ; entry && *entry; entry++) {
		const char *meant;

		snprintf(variable, sizeof(variable), "%.*s", (int)strcspn(*entry, "="), *entry);
		meant = chi_config_variable_meant(variable, name);
		if (meant)
			chi_log_warn("environment %s: there is no such key; is %s meant?", variable, meant);
	}
}

static int apply_setting(struct chi_config_load *load, const struct chi_config_layers *layers, const char *setting)
{
	const char *value = strchr(setting, '=');
	const struct chi_config_key *key;
	char path[64];

	if (!value || value == setting || (size_t)(value - setting) >= sizeof(path))
		return chi_error_set(-EINVAL, "--set %.64s: KEY=VALUE is wanted, like workers.count=4", setting);
	snprintf(path, sizeof(path), "%.*s", (int)(value - setting), setting);
	key = chi_config_find_key(path);
	if (!key)
		return chi_config_unknown_key(&(struct chi_config_place){ .label = "--set" }, path);
	return set_from_text(load, layers, key, CHI_CONFIG_SETTING, value + 1);
}

static int apply_layers(struct chi_config_load *load, const struct chi_config_layers *layers)
{
	int error = 0;

	if (layers->file)
		error = chi_config_read_file(load, layers->file);
	else if (layers->text)
		error = chi_config_read_text(load, layers->text, strlen(layers->text), file_label(layers));
	if (!error && layers->environment) {
		warn_of_variables();
		error = apply_environment(load, layers);
	}
	for (const char *const *setting = layers->settings; setting && *setting && !error; setting++)
		error = apply_setting(load, layers, *setting);
	if (!error && layers->name)
		error = set_from_text(load, layers, chi_config_find_key("name"), CHI_CONFIG_NAME_OPTION, layers->name);
	return error;
}

static char *copy_string(const char *string, int *error)
{
	char *copy = string ? strdup(string) : NULL;

	if (string && !copy)
		*error = chi_error_set(-ENOMEM, "no memory for the configuration");
	return copy;
}

int chi_config_layers_copy(const struct chi_config_layers *layers, struct chi_config_layers *ret_copy)
{
	size_t n_settings = 0;
	const char **settings;
	int error = 0;

	while (layers->settings && layers->settings[n_settings])
		n_settings++;
	settings = calloc(n_settings + 1, sizeof(*settings));
	if (!settings)
		return chi_error_set(-ENOMEM, "no memory for the configuration");
	for (size_t i = 0; i < n_settings; i++)
		settings[i] = copy_string(layers->settings[i], &error);
	*ret_copy = (struct chi_config_layers){
		.file = copy_string(layers->file, &error),
		.text = copy_string(layers->text, &error),
		.environment = layers->environment,
		.settings = settings,
		.n_settings = n_settings,
		.name = copy_string(layers->name, &error),
	};
	return error;
}

void chi_config_layers_free(struct chi_config_layers *copy)
{
	for (size_t i = 0; i < copy->n_settings; i++)
		free((char *)copy->settings[i]);
	free((void *)copy->settings);
	free((char *)copy->file);
	free((char *)copy->text);
	free((char *)copy->name);
	*copy = (struct chi_config_layers){ 0 };
}

/* ---- what keys have to be together ---- */

static int bad_key(const struct chi_config_load *load, const struct chi_config_layers *layers, const char *path,
		   const char *text)
{
	const struct chi_config_key *key = chi_config_find_key(path);
	const struct chi_config_origin *origin = &load->origins[key - chi_config_keys];
	char label[CHI_CONFIG_LABEL_MAX];
	struct chi_config_place place = { label_of(layers, key, origin->layer, label), origin->line, origin->column };

	return chi_config_bad(&place, path, "%s", text);
}

uint32_t chi_cpus_available(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (uint32_t)CPU_COUNT(&set);
}

static int cross_check(const struct chi_config_load *load, const struct chi_config_layers *layers)
{
	const struct chi_config *config = &load->config;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint32_t count = config->n_workers ? config->n_workers : chi_cpus_available();
	char text[128];
	uint64_t heap;

	if (config->n_high_latency && config->n_high_latency >= count) {
		snprintf(text, sizeof(text), "%u of %u workers: at least one must be left for low-latency lanes",
			 config->n_high_latency, count);
		return bad_key(load, layers, "workers.high_latency", text);
	}
	if (config->stack_bytes % page) {
		snprintf(text, sizeof(text), "%" PRIu64 " KiB are no multiple of the page, %" PRIu64 " KiB",
			 config->stack_bytes / 1024, page / 1024);
		return bad_key(load, layers, "fibers.stack_kib", text);
	}
	heap = chi_client_heap_offset(config->client_lanes, config->client_lane_depth);
	if (!heap || heap + MIB / 2 > config->client_bytes) {
		snprintf(text, sizeof(text), "%" PRIu64 " MiB are too small for %u lanes of %u slots",
			 config->client_bytes / MIB, config->client_lanes, config->client_lane_depth);
		return bad_key(load, layers, "clients.memory_mib", text);
	}
	return 0;
}

int chi_config_load(const struct chi_config_layers *layers, struct chi_config *ret_config,
		    struct chi_config_origin ret_origins[CHI_CONFIG_KEYS_MAX])
{
	struct chi_config_load load = { .origins = { { 0 } } };
	int error;

	chi_config_defaults(&load.config);
	error = apply_layers(&load, layers);
	if (!error)
		error = cross_check(&load, layers);
	if (error) {
		chi_config_free(&load.config);
		return error;
	}
	*ret_config = load.config;
	if (ret_origins)
		memcpy(ret_origins, load.origins, sizeof(load.origins));
	return 0;
}

void chi_config_origin_text(const struct chi_config_layers *layers, size_t key_index,
			    const struct chi_config_origin *origin, char *text, size_t size)
{
	char label[CHI_CONFIG_LABEL_MAX];
	const char *shown = label_of(layers, &chi_config_keys[key_index], origin->layer, label);

	if (origin->layer == CHI_CONFIG_DEFAULT)
		snprintf(text, size, "default");
	else if (origin->line)
		snprintf(text, size, "%s:%d:%d", shown, origin->line, origin->column);
	else
		snprintf(text, size, "%s", shown);
}
