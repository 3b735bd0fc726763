/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * module_describe.c - look at modules as the runtime would, without one
 */
#include <chimaera/runtime.h>

#include <errno.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/module_manager.h"
#include "task/error.h"

/* The module of chimaera_NAME.so is NAME. */
static int name_of_file(const char *path, char name[CHI_NAME_MAX])
{
	const char *leaf = strrchr(path, '/');
	size_t size;

	leaf = leaf ? leaf + 1 : path;
	size = strlen(leaf);
	if (fnmatch("chimaera_?*.so", leaf, 0) != 0 || size - strlen("chimaera_.so") >= CHI_NAME_MAX)
		return chi_error_set(-EINVAL, "%s: the file of a module NAME is called chimaera_NAME.so", path);
	snprintf(name, CHI_NAME_MAX, "%.*s", (int)(size - strlen("chimaera_.so")), leaf + strlen("chimaera_"));
	return 0;
}

/* Opening another kind of file could wait for its writer. */
static int check_kind(const char *path)
{
	struct stat status;

	if (stat(path, &status) != 0)
		return chi_error_set(-errno, "%s: %s", path, strerror(errno));
	return S_ISREG(status.st_mode) ? 0 : chi_error_set(-EINVAL, "%s: not a regular file", path);
}

static void describe(const char *path, const struct chi_loaded_module *module, chi_module_describe_fn *fn, void *arg)
{
	struct chi_module_description description = {
		.file = path,
		.name = module->name,
		.version = module->table->version,
		.abi_version = CHI_ABI_VERSION,
		.interface_hash = module->table->interface_hash,
	};

	for (uint32_t id = 0; id < CHI_METHODS_MAX; id++) {
		if (module->methods[id])
			description.methods[description.n_methods++] = module->methods[id];
	}
	fn(&description, arg);
}

int chi_module_describe(const char *path, chi_module_describe_fn *fn, void *arg)
{
	struct chi_loaded_module *module;
	char name[CHI_NAME_MAX], with_folder[PATH_MAX];
	int error = check_kind(path);

	if (!error)
		error = name_of_file(path, name);
	if (error)
		return error;
	/* dlopen() looks for a name without a folder in other places */
	snprintf(with_folder, sizeof(with_folder), "%s%s", strchr(path, '/') ? "" : "./", path);
	module = calloc(1, sizeof(*module));
	if (!module)
		return chi_error_set(-ENOMEM, "no memory for module '%s'", name);
	error = chi_module_load_file(with_folder, name, module);
	if (!error)
		describe(path, module, fn, arg);
	chi_module_unload(module);
	return error;
}

static void find_in_folder(const char *folder, size_t size, chi_module_found_fn *fn, void *arg)
{
	char pattern[PATH_MAX];
	glob_t found = { 0 };

	if (!size ||
	    snprintf(pattern, sizeof(pattern), "%.*s/chimaera_?*.so", (int)size, folder) >= (int)sizeof(pattern))
		return;
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			fn(found.gl_pathv[i], arg);
	}
	globfree(&found);
}

void chi_module_find_all(chi_module_found_fn *fn, void *arg)
{
	const char *folders = secure_getenv("CHI_REPO_PATH");
	char installed[PATH_MAX] = "";

	while (folders && *folders) {
		size_t n = strcspn(folders, ":");

		find_in_folder(folders, n, fn, arg);
		folders += n + (folders[n] == ':');
	}
	chi_module_installed_folder(installed);
	find_in_folder(installed, strlen(installed), fn, arg);
}
