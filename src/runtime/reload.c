/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reload.c - read the configuration again, and take what may change while the runtime runs
 *
 * A live key (`live` in config_table.c) is read by the thread that reloads, or through a copy that is atomic, as the
 * log's level.
 */
#include "runtime/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/config_internal.h"
#include "runtime/ipc_socket.h"
#include "runtime/log.h"
#include "runtime/runtime.h"
#include "task/error.h"

/* NAME.log beside NAME.sock */
static int path_beside_socket(const struct chi_config *config, char path[CHI_CONFIG_PATH_MAX])
{
	struct chi_socket_path where;
	gid_t group;
	int ret = chi_ipc_group(config->group, &group);

	if (ret == 0 && group == CHI_NO_GROUP)
		ret = chi_socket_path(config->name, CHI_SOCKET_MAKE, &where);
	else if (ret == 0)
		ret = chi_socket_path_make_shared(config->name, group, &where);
	if (ret == 0)
		snprintf(path, CHI_CONFIG_PATH_MAX, "%.*s.log", (int)(strrchr(where.path, '.') - where.path),
			 where.path);
	return ret;
}

int chi_runtime_open_log(struct chi_runtime *runtime)
{
	const struct chi_config *config = &runtime->config;
	char path[CHI_CONFIG_PATH_MAX];
	int ret = 0;

	memcpy(path, config->log_file, sizeof(path));
	if (!*path && runtime->log_beside_socket)
		ret = path_beside_socket(config, path);
	if (ret == 0)
		ret = chi_log_open(path);
	if (ret < 0)
		return ret;
	memcpy(runtime->log_path, path, sizeof(path));
	chi_log_set_level(config->log_level);
	return 0;
}

const char *chi_runtime_log_file(const struct chi_runtime *runtime)
{
	return *runtime->log_path ? runtime->log_path : NULL;
}

/* True: it is changed. */
static bool take_key(struct chi_runtime *runtime, const struct chi_config *fresh, const struct chi_config_key *key)
{
	char *is = chi_config_value_text(&runtime->config, key), *wanted = chi_config_value_text(fresh, key);
	bool differs = is && wanted && strcmp(is, wanted) != 0;

	if (differs && key->live) {
		chi_config_copy_field(&runtime->config, fresh, key);
		chi_log_info("reload: key '%s': %s, before %s", key->path, wanted, is);
	} else if (differs) {
		chi_log_warn("reload: key '%s': %s needs a restart, it stays %s", key->path, wanted, is);
	}
	free(is);
	free(wanted);
	return differs && key->live;
}

static int open_log_anew(struct chi_runtime *runtime)
{
	int ret = chi_runtime_open_log(runtime);

	if (ret < 0)
		chi_log_error("reload: the log stays where it is: %s", chi_error_text());
	return ret;
}

/* Whoever moved the log away gets a new one all the same, and reads there what is wrong. */
static int refuse(struct chi_runtime *runtime, int error)
{
	char cause[512];

	snprintf(cause, sizeof(cause), "%s", chi_error_text());
	open_log_anew(runtime);
	chi_log_error("reload: nothing is changed: %s", cause);
	return chi_error_set(error, "%s", cause);
}

int chi_runtime_reload(struct chi_runtime *runtime)
{
	unsigned int n_changed = 0;
	struct chi_config fresh;
	int ret = chi_config_load(&runtime->layers, &fresh, NULL);

	if (ret < 0)
		return refuse(runtime, ret);
	for (size_t i = 0; i < chi_config_n_keys; i++)
		n_changed += take_key(runtime, &fresh, &chi_config_keys[i]);
	chi_config_free(&fresh);
	ret = open_log_anew(runtime);
	chi_log_info("reload: %u key%s changed", n_changed, n_changed == 1 ? "" : "s");
	return ret;
}
