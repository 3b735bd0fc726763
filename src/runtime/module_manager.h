/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * module_manager.h - finds, checks, loads and unloads modules
 *
 * Looks for chimaera_NAME.so in the folders of CHI_REPO_PATH (colons), then in the folder `chimaera` beside the
 * runtime's library. The ABI note is read (libelf) before dlopen() runs anything of the file. One loaded module serves
 * many pools; the last pool's end unloads it.
 */
#ifndef RUNTIME_MODULE_MANAGER_H
#define RUNTIME_MODULE_MANAGER_H

#include <limits.h>

#include <chimaera/module.h>

struct chi_module_manager;

int chi_module_manager_create(struct chi_module_manager **ret_manager);
void chi_module_manager_destroy(struct chi_module_manager *manager);

/* A module that is part of the runtime itself (admin); @module: lent until destroy. */
int chi_module_register_builtin(struct chi_module_manager *manager, const struct chi_module *module);

struct chi_loaded_module {
	const struct chi_module *table;
	char name[64];
	/* method id -> method, NULL where there is none; taken from the table by its own stride */
	const struct chi_method *methods[CHI_METHODS_MAX];
	struct chi_method own[CHI_METHODS_MAX]; /* copies, widened to this runtime's struct chi_method */
	void *dl;
	uint32_t n_uses;
	struct chi_loaded_module *next;
};

/* Counted. -ENOENT (no file of that name; text lists the folders), -EINVAL (name), -ELIBBAD (no note, other ABI
 * version, not loadable, table wrong: text names file and cause; logged once). Threads: any; may block on the file
 * system. */
int chi_module_get(struct chi_module_manager *manager, const char *name, const struct chi_loaded_module **ret_module);
void chi_module_put(struct chi_module_manager *manager, const struct chi_loaded_module *module);

/* Read and check the note alone: 0, or why not in chi_error_text(). For `chimaera module check` and the loader
 * itself. */
int chi_module_check_file(const char *path, uint32_t *ret_abi_version);

/* The folder of modules beside the library, searched after CHI_REPO_PATH; "" when its path is not known. */
void chi_module_installed_folder(char folder[PATH_MAX]);

/* Check the file, load it, check its table as that of a module called @name: -ELIBBAD, and why in chi_error_text().
 * @module: zeroed, from the heap; given to chi_module_unload(), also after a failure. */
int chi_module_load_file(const char *path, const char *name, struct chi_loaded_module *module);
void chi_module_unload(struct chi_loaded_module *module);

#endif
