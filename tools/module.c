/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * module.c - chimaera module list, check: files of modules, seen as a runtime sees them; none has to run
 */
#include "chimaera.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chimaera/runtime.h>

#include "options.h"
#include "output.h"

struct arguments {
	bool json;
	const char *file;
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->json;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", value);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- check ---- */

static error_t parse_check(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	if (key == ARGP_KEY_ARG && !arguments->file) {
		arguments->file = value;
		return 0;
	}
	if (key == ARGP_KEY_END && !arguments->file)
		argp_usage(state);
	return parse_option(key, value, state);
}

static const struct argp check_argp = {
	.children = JSON_CHILD,
	.parser = parse_check,
	.args_doc = "FILE",
	.doc = "Check a module's file, chimaera_NAME.so, as a runtime does before it takes it: ELF file, note with "
	       "the ABI version, symbols, table of methods. No runtime is needed. The file is loaded, so that its "
	       "constructors run, once its note is right.\v"
	       "Exit codes: 0 a runtime would take it, 1 it would not: standard error says why, 2 wrong usage.",
};

static void show_module(const struct chi_module_description *module, void *arg)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)arg;
	if (!out)
		return;
	printf("%s: module '%s', version %" PRIu32 ", ABI %" PRIu32 ": a runtime would take it\n", module->file,
	       module->name, module->version, module->abi_version);
	fprintf(out, "METHOD\tID\tTASK BYTES\tOUTPUT BYTES\tBUFFERS\n");
	for (uint32_t i = 0; i < module->n_methods; i++) {
		const struct chi_method *method = module->methods[i];

		fprintf(out, "%s\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\t%" PRIu32 "\n", method->name, method->id,
			method->task_size, method->out_size, method->n_buffers);
	}
	fclose(out);
	print_aligned(text);
	free(text);
}

static struct json_object *json_of_method(const struct chi_method *method)
{
	struct json_object *json = json_object_new_object();

	json_object_object_add(json, "name", json_object_new_string(method->name));
	json_object_object_add(json, "id", json_object_new_uint64(method->id));
	json_object_object_add(json, "task_bytes", json_object_new_uint64(method->task_size));
	json_object_object_add(json, "output_bytes", json_object_new_uint64(method->out_size));
	json_object_object_add(json, "buffers", json_object_new_uint64(method->n_buffers));
	return json;
}

static void add_module(const struct chi_module_description *module, void *arg)
{
	struct json_object *json = arg, *methods = json_object_new_array();
	char hash[17];

	snprintf(hash, sizeof(hash), "%016" PRIx64, module->interface_hash);
	json_object_object_add(json, "name", json_object_new_string(module->name));
	json_object_object_add(json, "version", json_object_new_uint64(module->version));
	json_object_object_add(json, "abi", json_object_new_uint64(module->abi_version));
	json_object_object_add(json, "interface_hash", json_object_new_string(hash));
	for (uint32_t i = 0; i < module->n_methods; i++)
		json_object_array_add(methods, json_of_method(module->methods[i]));
	json_object_object_add(json, "methods", methods);
}

/* {"file": ..., "usable": true, ...} or {"file": ..., "usable": false, "why": ...} */
static struct json_object *json_of_file(const char *path, bool *ret_usable)
{
	struct json_object *json = json_object_new_object();

	*ret_usable = chi_module_describe(path, add_module, json) == 0;
	json_object_object_add(json, "file", json_object_new_string(path));
	json_object_object_add(json, "usable", json_object_new_boolean(*ret_usable));
	if (!*ret_usable)
		json_object_object_add(json, "why", json_object_new_string(chi_error_text()));
	return json;
}

static int check_module(int argc, char **argv)
{
	struct arguments arguments = { 0 };
	int error = parse_arguments(&check_argp, argc, argv, &arguments);
	bool usable;

	if (error)
		return error;
	if (arguments.json) {
		error = print_json(json_of_file(arguments.file, &usable));
		return usable ? error : EXIT_FAILED;
	}
	if (chi_module_describe(arguments.file, show_module, NULL)) {
		fprintf(stderr, "chimaera: refused: %s\n", chi_error_text());
		return EXIT_FAILED;
	}
	return end_output();
}

/* ---- list ---- */

static const struct argp list_argp = {
	.children = JSON_CHILD,
	.parser = parse_option,
	.doc = "List the modules where a runtime with the same environment would find them: in the folders of "
	       "CHI_REPO_PATH, then in that of the installation. Each is checked as by `chimaera module check'.\v"
	       "Of two files of one module the first is taken; the others are shown as hidden.\n"
	       "Exit codes: 0 listed, also when some would be refused, 1 failed, 2 wrong usage.",
};

struct listing {
	FILE *out;		  /* lines of the table */
	struct json_object *json; /* or an array */
	char **names;		  /* of the files so far, without folder */
	size_t n_names;
};

static const char *leaf_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Has a file of that name been seen in a folder before? If not, from now on. */
static bool seen_before(struct listing *listing, const char *path)
{
	char **names;

	for (size_t i = 0; i < listing->n_names; i++) {
		if (strcmp(listing->names[i], leaf_of(path)) == 0)
			return true;
	}
	names = realloc(listing->names, (listing->n_names + 1) * sizeof(*names));
	if (names) {
		listing->names = names;
		names[listing->n_names] = strdup(leaf_of(path));
		listing->n_names += names[listing->n_names] != NULL;
	}
	return false;
}

static void list_usable(const struct chi_module_description *module, void *arg)
{
	fprintf(arg, "%s\t%" PRIu32 "\t%" PRIu32 " methods\t%s\n", module->name, module->version, module->n_methods,
		module->file);
}

static void list_file(const char *path, void *arg)
{
	struct listing *listing = arg;
	bool hidden = seen_before(listing, path), usable;
	int name_size = (int)(strlen(leaf_of(path)) - strlen("chimaera_.so"));
	const char *name = leaf_of(path) + strlen("chimaera_");

	if (listing->json) {
		struct json_object *json = json_of_file(path, &usable);

		json_object_object_add(json, "hidden", json_object_new_boolean(hidden));
		json_object_array_add(listing->json, json);
	} else if (hidden) {
		fprintf(listing->out, "%.*s\t\thidden\t%s\n", name_size, name, path);
	} else if (chi_module_describe(path, list_usable, listing->out)) {
		fprintf(listing->out, "%.*s\t\trefused\t%s\n", name_size, name, chi_error_text());
	}
}

static int list_modules(int argc, char **argv)
{
	struct arguments arguments = { 0 };
	struct listing listing = { 0 };
	char *text = NULL;
	size_t size;
	int error = parse_arguments(&list_argp, argc, argv, &arguments);

	if (error)
		return error;
	if (arguments.json) {
		listing.json = json_object_new_array();
		chi_module_find_all(list_file, &listing);
		error = print_json(listing.json);
	} else {
		listing.out = open_memstream(&text, &size);
		if (!listing.out)
			return EXIT_FAILED;
		fprintf(listing.out, "NAME\tVERSION\tSTATE\tFILE\n");
		chi_module_find_all(list_file, &listing);
		fclose(listing.out);
		print_aligned(text);
		free(text);
		error = end_output();
	}
	for (size_t i = 0; i < listing.n_names; i++)
		free(listing.names[i]);
	free(listing.names);
	return error;
}

int command_module(int argc, char **argv)
{
	static const struct command commands[] = {
		{ "list", list_modules, "list the modules that a runtime would find" },
		{ "check", check_module, "check a module's file as a runtime would" },
		{ 0 },
	};

	return run_command(commands, "List modules, and check them; no runtime is needed.",
			   "0 done, 1 failed, 2 wrong usage", argc, argv);
}
