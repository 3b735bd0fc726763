/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool.c - chimaera pool create, list, destroy
 */
#include "chimaera.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chimaera/admin.h>

#include "options.h"
#include "output.h"
#include "patience.h"

#define CODES "Exit codes: " CODES_OF_RUNTIMES "."

struct arguments {
	const char *runtime;
	bool json, open;
	uint32_t n_containers;
	uint64_t timeout_ms;
	const char *params;
	const char *words[2]; /* what stands without an option */
	unsigned int n_words;
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'o':
		arguments->open = true;
		return 0;
	case 'p':
		arguments->params = value;
		return 0;
	case 'C':
		arguments->n_containers = (uint32_t)parse_number(state, "--containers", value, 1,
								 CHI_POOL_CONTAINERS_MAX);
		return 0;
	case 't':
		arguments->timeout_ms = parse_number(state, "--timeout", value, 1, TIMEOUT_MS_MAX);
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->runtime;
		state->child_inputs[1] = &arguments->json;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* For commands that take words; who takes none leaves them to name_argp, which refuses them. */
static error_t parse_words(int key, char *value, struct argp_state *state, unsigned int n_min, unsigned int n_max)
{
	struct arguments *arguments = state->input;

	if (key == ARGP_KEY_ARG && arguments->n_words < n_max) {
		arguments->words[arguments->n_words++] = value;
		return 0;
	}
	if (key == ARGP_KEY_END && arguments->n_words < n_min)
		argp_usage(state);
	return parse_option(key, value, state);
}

#define TIMEOUT_OPTION                                                                  \
	{                                                                               \
		"timeout", 't', "MS", 0, "Wait at most so many milliseconds (10000)", 0 \
	}

/* ---- create ---- */

static error_t parse_create(int key, char *value, struct argp_state *state)
{
	return parse_words(key, value, state, 1, 2);
}

static const struct argp create_argp = {
	.options =
		(const struct argp_option[]){
			TIMEOUT_OPTION,
			{ "containers", 'C', "N", 0, "Containers: shares of its state (1)", 0 },
			{ "params", 'p', "TEXT", 0, "Bytes for the module's create()", 0 },
			{ "open", 'o', NULL, 0, "No error when the pool is there already, of the same module", 0 },
			{ 0 },
		},
	.parser = parse_create,
	.args_doc = "MODULE [POOL]",
	.children = NAME_JSON_CHILDREN,
	.doc = "Make a pool from a module; without POOL it has the module's name.\v" CODES,
};

static int print_created(const struct arguments *arguments, const char *pool, uint32_t pool_id, bool created)
{
	struct json_object *root;

	if (!arguments->json) {
		printf("pool '%s' %s: id %" PRIu32 "\n", pool, created ? "made" : "is there already", pool_id);
		return end_output();
	}
	root = json_object_new_object();
	json_object_object_add(root, "pool", json_object_new_uint64(pool_id));
	json_object_object_add(root, "name", json_object_new_string(pool));
	json_object_object_add(root, "module", json_object_new_string(arguments->words[0]));
	json_object_object_add(root, "created", json_object_new_boolean(created));
	return print_json(root);
}

static int create_pool(int argc, char **argv)
{
	struct arguments arguments = { .timeout_ms = PATIENCE_MS };
	struct chi_client *client;
	const char *pool;
	uint32_t pool_id;
	int error = parse_arguments(&create_argp, argc, argv, &arguments), created;

	if (!error)
		error = connect_to(arguments.runtime, arguments.timeout_ms, &client);
	if (error)
		return error;
	pool = arguments.n_words > 1 ? arguments.words[1] : arguments.words[0];
	created = chi_pool_create(client,
				  &(struct chi_pool_spec){
					  .module = arguments.words[0],
					  .name = pool,
					  .n_containers = arguments.n_containers,
					  .exclusive = !arguments.open,
					  .params = arguments.params,
					  .params_size = arguments.params ? strlen(arguments.params) : 0,
				  },
				  &pool_id);
	error = created < 0 ? say_failed(arguments.runtime, created)
			    : print_created(&arguments, pool, pool_id, created > 0);
	chi_client_disconnect(client);
	return error;
}

/* ---- list, and find by name ---- */

/* free(*ret_pools). Between two looks there may be more. Returns how many, or a negative errno. */
static int get_pools(struct chi_client *client, struct chi_pool_info **ret_pools)
{
	struct chi_pool_info *pools = NULL;
	uint32_t n_max = 64;

	for (;;) {
		struct chi_pool_info *larger = realloc(pools, n_max * sizeof(*pools));
		int n = larger ? chi_pool_list(client, larger, n_max) : -ENOMEM;

		pools = larger ? larger : pools;
		if (n < 0)
			free(pools);
		if (n < 0)
			return n;
		*ret_pools = pools;
		if ((uint32_t)n <= n_max)
			return n;
		n_max = (uint32_t)n * 2;
	}
}

static const struct argp list_argp = {
	.options = (const struct argp_option[]){ TIMEOUT_OPTION, { 0 } },
	.parser = parse_option,
	.children = NAME_JSON_CHILDREN,
	.doc = "List the pools of a runtime.\v" CODES,
};

static struct json_object *json_of_pool(const struct chi_pool_info *info)
{
	struct json_object *pool = json_object_new_object();

	json_object_object_add(pool, "pool", json_object_new_uint64(info->pool_id));
	json_object_object_add(pool, "name", json_object_new_string(info->name));
	json_object_object_add(pool, "module", json_object_new_string(info->module));
	json_object_object_add(pool, "containers", json_object_new_uint64(info->n_containers));
	json_object_object_add(pool, "tasks", json_object_new_uint64(info->n_tasks));
	json_object_object_add(pool, "in_flight", json_object_new_uint64(info->n_in_flight));
	return pool;
}

static int print_pools_json(const struct chi_pool_info *pools, int n)
{
	struct json_object *array = json_object_new_array();

	for (int i = 0; i < n; i++)
		json_object_array_add(array, json_of_pool(&pools[i]));
	return print_json(array);
}

static int print_pools(const struct chi_pool_info *pools, int n)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return EXIT_FAILED;
	fprintf(out, "POOL\tNAME\tMODULE\tCONTAINERS\tTASKS\tIN FLIGHT\n");
	for (int i = 0; i < n; i++)
		fprintf(out, "%" PRIu32 "\t%s\t%s\t%" PRIu32 "\t%" PRIu64 "\t%" PRIu64 "\n", pools[i].pool_id,
			pools[i].name, pools[i].module, pools[i].n_containers, pools[i].n_tasks, pools[i].n_in_flight);
	fclose(out);
	print_aligned(text);
	free(text);
	return end_output();
}

static int list_pools(int argc, char **argv)
{
	struct arguments arguments = { .timeout_ms = PATIENCE_MS };
	struct chi_pool_info *pools;
	struct chi_client *client;
	int error = parse_arguments(&list_argp, argc, argv, &arguments), n;

	if (!error)
		error = connect_to(arguments.runtime, arguments.timeout_ms, &client);
	if (error)
		return error;
	n = get_pools(client, &pools);
	if (n < 0) {
		error = say_failed(arguments.runtime, n);
	} else {
		error = arguments.json ? print_pools_json(pools, n) : print_pools(pools, n);
		free(pools);
	}
	chi_client_disconnect(client);
	return error;
}

/* ---- destroy ---- */

static error_t parse_destroy(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	if (key == ARGP_KEY_INIT) { /* it has no --json */
		state->child_inputs[0] = &arguments->runtime;
		return 0;
	}
	return parse_words(key, value, state, 1, 1);
}

static const struct argp destroy_argp = {
	.options = (const struct argp_option[]){ TIMEOUT_OPTION, { 0 } },
	.parser = parse_destroy,
	.args_doc = "POOL",
	.children = NAME_CHILD,
	.doc = "Destroy a pool, by its name or id, and wait until it is gone: tasks in flight end first, later ones "
	       "are refused.\v" CODES,
};

/* 0: there is none. A name goes before an id. */
static uint32_t find_pool(const struct chi_pool_info *pools, int n, const char *word)
{
	char *end;
	unsigned long id = strtoul(word, &end, 10);

	for (int i = 0; i < n; i++) {
		if (strcmp(pools[i].name, word) == 0)
			return pools[i].pool_id;
	}
	for (int i = 0; i < n && *word && !*end; i++) {
		if (pools[i].pool_id == id)
			return pools[i].pool_id;
	}
	return 0;
}

static int destroy_named(struct chi_client *client, const struct arguments *arguments)
{
	struct chi_pool_info *pools;
	int error = get_pools(client, &pools);
	uint32_t pool_id;

	if (error < 0)
		return say_failed(arguments->runtime, error);
	pool_id = find_pool(pools, error, arguments->words[0]);
	free(pools);
	if (!pool_id) {
		fprintf(stderr, "chimaera: runtime '%s': there is no pool '%s'\n", shown_name(arguments->runtime),
			arguments->words[0]);
		return EXIT_FAILED;
	}
	error = chi_pool_destroy(client, pool_id);
	if (error)
		return say_failed(arguments->runtime, error);
	printf("pool '%s' destroyed\n", arguments->words[0]);
	return end_output();
}

static int destroy_pool(int argc, char **argv)
{
	struct arguments arguments = { .timeout_ms = PATIENCE_MS };
	struct chi_client *client;
	int error = parse_arguments(&destroy_argp, argc, argv, &arguments);

	if (!error)
		error = connect_to(arguments.runtime, arguments.timeout_ms, &client);
	if (error)
		return error;
	error = destroy_named(client, &arguments);
	chi_client_disconnect(client);
	return error;
}

int command_pool(int argc, char **argv)
{
	static const struct command commands[] = {
		{ "create", create_pool, "make a pool from a module" },
		{ "list", list_pools, "list the pools of a runtime" },
		{ "destroy", destroy_pool, "destroy a pool when its tasks have ended" },
		{ 0 },
	};

	return run_command(commands, "Make, list and destroy pools of a runtime.", CODES_OF_RUNTIMES, argc, argv);
}
