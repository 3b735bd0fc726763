/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * module_manager.c - from a module's name to its checked table
 *
 * The lock is held while a file is loaded: two pools of one new module load it once. Modules come and go rarely.
 */
#include "runtime/module_manager.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <chimaera/admin.h>

#include "runtime/log.h"
#include "task/error.h"

/* What the first version of the ABI has; later fields may be missing. */
#define TABLE_BYTES_MIN	 (offsetof(struct chi_module, run) + sizeof(void *))
#define METHOD_BYTES_MIN (offsetof(struct chi_method, fold) + sizeof(void *))
/* Anything larger is no newer version, but rubbish. */
#define TABLE_BYTES_MAX	 4096u
#define METHOD_BYTES_MAX 1024u

struct chi_module_manager {
	pthread_mutex_t lock;
	struct chi_loaded_module *modules;
	struct chi_log_limit log_limit;
	char installed[PATH_MAX]; /* the folder of modules beside the library; "" when its path is not known */
};

/* Asked of the loader and not fixed when built, so that an installed tree may be moved. */
void chi_module_installed_folder(char folder[PATH_MAX])
{
	char library[PATH_MAX];
	Dl_info info;

	if (!dladdr((void *)(uintptr_t)chi_module_manager_create, &info) || !realpath(info.dli_fname, library))
		return;
	*strrchr(library, '/') = '\0';
	if (snprintf(folder, PATH_MAX, "%s/chimaera", library) >= PATH_MAX)
		folder[0] = '\0';
}

int chi_module_manager_create(struct chi_module_manager **ret_manager)
{
	struct chi_module_manager *manager = calloc(1, sizeof(*manager));

	if (!manager)
		return chi_error_set(-ENOMEM, "no memory for the module manager");
	pthread_mutex_init(&manager->lock, NULL);
	chi_module_installed_folder(manager->installed);
	*ret_manager = manager;
	return 0;
}

void chi_module_unload(struct chi_loaded_module *module)
{
	if (module->dl)
		dlclose(module->dl);
	free(module);
}

void chi_module_manager_destroy(struct chi_module_manager *manager)
{
	if (!manager)
		return;
	while (manager->modules) {
		struct chi_loaded_module *module = manager->modules;

		manager->modules = module->next;
		chi_module_unload(module);
	}
	pthread_mutex_destroy(&manager->lock);
	free(manager);
}

/* ---- the table ---- */

/* Also what keeps a name from leaving its folder. */
static bool name_is_allowed(const char *name)
{
	size_t size = strnlen(name, CHI_NAME_MAX);

	return size > 0 && size < CHI_NAME_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == size;
}

static bool range_in_task(const struct chi_method *method, uint32_t offset, uint64_t size)
{
	return offset >= sizeof(struct chi_task) && (uint64_t)offset + size <= method->task_size;
}

/* NULL, or what is wrong */
static const char *method_fault(const struct chi_module *table, const struct chi_method *method)
{
	if (method->id >= CHI_METHODS_MAX)
		return "its id is too large";
	if (method->task_size < sizeof(struct chi_task) || method->task_size > CHI_TASK_SIZE_MAX ||
	    method->task_size % _Alignof(struct chi_task))
		return "its task size is not allowed";
	if (!method->run && !table->run)
		return "it has no function";
	if (method->n_buffers > CHI_TASK_BUFFERS_MAX)
		return "it has too many buffers";
	if (method->n_buffers &&
	    (method->buffers_offset % _Alignof(struct chi_buffer) ||
	     !range_in_task(method, method->buffers_offset, method->n_buffers * sizeof(struct chi_buffer))))
		return "its buffers are not inside its task";
	if (method->out_size && !range_in_task(method, method->out_offset, method->out_size))
		return "its outputs are not inside its task";
	return NULL;
}

static int copy_methods(struct chi_loaded_module *module, const struct chi_module *table, const char *where)
{
	size_t size = table->method_stride < sizeof(struct chi_method) ? table->method_stride
								       : sizeof(struct chi_method);

	for (uint32_t i = 0; i < table->n_methods; i++) {
		struct chi_method method = { 0 };
		const char *fault;

		/* by the module's own stride: its struct may be longer or shorter than ours */
		memcpy(&method, (const char *)table->methods + (size_t)i * table->method_stride, size);
		if (!method.name || !name_is_allowed(method.name))
			return chi_error_set(-ELIBBAD, "%s: method entry %u has no proper name (a-z, 0-9, _)", where,
					     i);
		fault = method_fault(table, &method);
		if (fault)
			return chi_error_set(-ELIBBAD, "%s: method '%s': %s", where, method.name, fault);
		if (module->methods[method.id])
			return chi_error_set(-ELIBBAD, "%s: methods '%s' and '%s' have the same id %u", where,
					     module->methods[method.id]->name, method.name, method.id);
		for (uint32_t id = 0; id < CHI_METHODS_MAX; id++) {
			if (module->methods[id] && strcmp(module->methods[id]->name, method.name) == 0)
				return chi_error_set(-ELIBBAD, "%s: two methods are called '%s'", where, method.name);
		}
		module->own[method.id] = method;
		module->methods[method.id] = &module->own[method.id];
	}
	return 0;
}

static int adopt_table(struct chi_loaded_module *module, const struct chi_module *table, const char *name,
		       const char *where)
{
	if (!table)
		return chi_error_set(-ELIBBAD, "%s: its table is missing", where);
	if (table->size < TABLE_BYTES_MIN || table->size > TABLE_BYTES_MAX)
		return chi_error_set(-ELIBBAD, "%s: a table of %u bytes is none of ours", where, table->size);
	if (table->method_stride < METHOD_BYTES_MIN || table->method_stride > METHOD_BYTES_MAX ||
	    table->method_stride % _Alignof(struct chi_method))
		return chi_error_set(-ELIBBAD, "%s: method entries of %u bytes are none of ours", where,
				     table->method_stride);
	if (!table->name || strcmp(table->name, name) != 0)
		return chi_error_set(-ELIBBAD, "%s: the module in it is called '%.63s'", where,
				     table->name ? table->name : "");
	if (!table->methods || table->n_methods == 0 || table->n_methods > CHI_METHODS_MAX)
		return chi_error_set(-ELIBBAD, "%s: %u methods (allowed 1..%u)", where, table->n_methods,
				     CHI_METHODS_MAX);
	module->table = table;
	strcpy(module->name, name);
	return copy_methods(module, table, where);
}

/* ---- files ---- */

int chi_module_load_file(const char *path, const char *name, struct chi_loaded_module *module)
{
	uint32_t abi_version = 0;
	const struct chi_module *const *symbol;
	int error = chi_module_check_file(path, &abi_version);

	if (error)
		return -ELIBBAD;
	module->dl = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!module->dl) {
		const char *why = dlerror();

		return chi_error_set(-ELIBBAD, "%s: cannot be loaded: %s", path, why ? why : "?");
	}
	symbol = dlsym(module->dl, CHI_MODULE_SYMBOL);
	if (!symbol)
		return chi_error_set(-ELIBBAD, "%s: it has no %s", path, CHI_MODULE_SYMBOL);
	return adopt_table(module, *symbol, name, path);
}

static bool find_in(const char *folders, const char *name, char *path, size_t size)
{
	while (*folders) {
		size_t n = strcspn(folders, ":");

		if (n && (size_t)snprintf(path, size, "%.*s/chimaera_%s.so", (int)n, folders, name) < size &&
		    access(path, F_OK) == 0)
			return true;
		folders += n + (folders[n] == ':');
	}
	return false;
}

/* The first folder that has a file of the name decides: a broken module is told, not passed over. */
static int find_file(const struct chi_module_manager *manager, const char *name, char *path, size_t size)
{
	const char *repo = secure_getenv("CHI_REPO_PATH");

	if (!repo)
		repo = "";
	if (find_in(repo, name, path, size) || find_in(manager->installed, name, path, size))
		return 0;
	return chi_error_set(-ENOENT, "module '%s': no chimaera_%s.so in %.300s%s%s", name, name, repo,
			     *repo ? ":" : "", manager->installed);
}

static int load_module(struct chi_module_manager *manager, const char *name, struct chi_loaded_module **ret_module)
{
	struct chi_loaded_module *module;
	char path[4096];
	int error = find_file(manager, name, path, sizeof(path));

	if (error)
		return error;
	module = calloc(1, sizeof(*module));
	if (!module)
		return chi_error_set(-ENOMEM, "no memory for module '%s'", name);
	error = chi_module_load_file(path, name, module);
	if (error) {
		/* a client may ask again and again */
		if (chi_log_allowed(&manager->log_limit, 4))
			chi_log_error("module '%s' refused: %s", name, chi_error_text());
		chi_module_unload(module);
		return error;
	}
	chi_log_debug("module '%s' version %u loaded from %s", name, module->table->version, path);
	*ret_module = module;
	return 0;
}

/* ---- counted use ---- */

static struct chi_loaded_module *find_loaded(struct chi_module_manager *manager, const char *name)
{
	struct chi_loaded_module *module = manager->modules;

	while (module && strcmp(module->name, name) != 0)
		module = module->next;
	return module;
}

int chi_module_register_builtin(struct chi_module_manager *manager, const struct chi_module *table)
{
	struct chi_loaded_module *module = calloc(1, sizeof(*module));
	int error;

	if (!module)
		return chi_error_set(-ENOMEM, "no memory for a module");
	error = adopt_table(module, table, table->name ? table->name : "", "builtin module");
	if (error) {
		free(module);
		return error;
	}
	module->n_uses = 1; /* the runtime's own, for ever */
	pthread_mutex_lock(&manager->lock);
	module->next = manager->modules;
	manager->modules = module;
	pthread_mutex_unlock(&manager->lock);
	return 0;
}

int chi_module_get(struct chi_module_manager *manager, const char *name, const struct chi_loaded_module **ret_module)
{
	struct chi_loaded_module *module;
	int error = 0;

	if (!name_is_allowed(name))
		return chi_error_set(-EINVAL, "'%.63s' is no name of a module (a-z, 0-9, _; at most %u)", name,
				     CHI_NAME_MAX - 1);
	pthread_mutex_lock(&manager->lock);
	module = find_loaded(manager, name);
	if (!module) {
		error = load_module(manager, name, &module);
		if (!error) {
			module->next = manager->modules;
			manager->modules = module;
		}
	}
	if (!error) {
		module->n_uses++;
		*ret_module = module;
	}
	pthread_mutex_unlock(&manager->lock);
	return error;
}

void chi_module_put(struct chi_module_manager *manager, const struct chi_loaded_module *module)
{
	struct chi_loaded_module **link = &manager->modules;

	pthread_mutex_lock(&manager->lock);
	while (*link && *link != module)
		link = &(*link)->next;
	if (*link && --(*link)->n_uses == 0) {
		struct chi_loaded_module *gone = *link;

		*link = gone->next;
		chi_log_debug("module '%s' unloaded", gone->name);
		chi_module_unload(gone);
	}
	pthread_mutex_unlock(&manager->lock);
}
