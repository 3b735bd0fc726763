/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_yaml.c - YAML to keys: a file, checked line by line against the table, and values that are lists
 */
#include "runtime/config_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libfyaml.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task/error.h"

#define FILE_MAX_BYTES (1u << 20)

/* What is being read: nodes without a place of their own are told at that of what holds them. */
struct reader {
	struct chi_config *config;
	struct chi_config_origin *origins; /* of the keys that were met; NULL: only a value is read */
	const char *label;
	uint64_t groups_seen;
};

/* ---- nodes ---- */

static struct chi_config_place place_of(const struct chi_config_place *outer, struct fy_node *node)
{
	struct fy_token *token = node && fy_node_is_scalar(node) ? fy_node_get_scalar_token(node) : NULL;
	const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
	struct chi_config_place place = *outer;

	/* lists and mappings have no place of their own: that of their key stays; nor has a value from the
	 * environment */
	if (mark && outer->line) {
		place.line = mark->line + 1;
		place.column = mark->column + 1;
	}
	return place;
}

/* the text of a node that is one plain value; NULL: it is not */
static const char *node_text(struct fy_node *node, size_t *ret_size)
{
	if (!node || !fy_node_is_scalar(node) || fy_node_is_alias(node))
		return NULL;
	return fy_node_get_scalar(node, ret_size);
}

/* nothing at all, or YAML's words for it */
static bool node_is_nothing(struct fy_node *node)
{
	size_t size = 0;
	const char *text = node_text(node, &size);

	if (!node || fy_node_is_null(node))
		return true;
	return text && (size == 0 || (size == 1 && *text == '~') || (size == 4 && memcmp(text, "null", 4) == 0));
}

/* ---- lists ---- */

static int read_cpus(struct chi_config *config, const struct chi_config_place *place, const struct chi_config_key *key,
		     struct fy_node *node)
{
	struct fy_node *item;
	void *at = NULL;
	cpu_set_t ours;
	uint32_t n = 0;

	if (!fy_node_is_sequence(node))
		return chi_config_bad(place, key->path, "a list of CPUs is wanted, like [0, 1]");
	if (sched_getaffinity(0, sizeof(ours), &ours))
		memset(&ours, 0xff, sizeof(ours)); /* more CPUs than the set has bits: the binding itself will tell */
	while ((item = fy_node_sequence_iterate(node, &at))) {
		struct chi_config_place here = place_of(place, item);
		size_t size = 0;
		const char *text = node_text(item, &size);
		uint64_t cpu = 0;
		int error = chi_config_parse_number(&here, key, text ? text : "", size, &cpu);

		if (error)
			return error;
		if (!CPU_ISSET(cpu, &ours))
			return chi_config_bad(&here, key->path, "this process may not run on CPU %" PRIu64, cpu);
		if (n == CHI_WORKERS_MAX)
			return chi_config_bad(&here, key->path, "more than %u CPUs", CHI_WORKERS_MAX);
		config->cpus[n++] = (uint32_t)cpu;
	}
	config->n_cpus = n;
	return 0;
}

static int set_pool_text(char *field, const struct chi_config_place *place, const char *name, const char *value,
			 size_t size)
{
	if (!size || size >= CHI_NAME_MAX || memchr(value, 0, size))
		return chi_config_bad(place, "compose", "%s: 1 to %u characters are wanted", name, CHI_NAME_MAX - 1);
	memcpy(field, value, size);
	field[size] = 0;
	return 0;
}

static int set_pool_field(struct chi_config_pool *pool, const struct chi_config_place *place, const char *name,
			  const char *value, size_t size)
{
	static const struct chi_config_key containers = {
		.path = "compose", .type = KEY_NUMBER, .min = 1, .max = CHI_POOL_CONTAINERS_MAX
	};
	uint64_t number = 0;
	int error;

	if (strcmp(name, "module") == 0)
		return set_pool_text(pool->module, place, name, value, size);
	if (strcmp(name, "name") == 0)
		return set_pool_text(pool->name, place, name, value, size);
	if (strcmp(name, "containers") == 0) {
		error = chi_config_parse_number(place, &containers, value, size, &number);
		pool->n_containers = (uint32_t)number;
		return error;
	}
	if (strcmp(name, "params") != 0)
		return chi_config_bad(place, "compose", "a pool has no '%s', but module, name, containers, params",
				      name);
	if (memchr(value, 0, size))
		return chi_config_bad(place, "compose", "params: no text: it has a NUL");
	free(pool->params);
	pool->params = strndup(value, size);
	return pool->params ? 0 : chi_error_set(-ENOMEM, "%s: no memory to read it", place->label);
}

/* A list's item has no place of its own: that of its first key stands for it. */
static void note_place(struct chi_config_pool *pool, const struct chi_config_place *place)
{
	if (place->line)
		snprintf(pool->where, sizeof(pool->where), "%s:%d:%d", place->label, place->line, place->column);
	else
		snprintf(pool->where, sizeof(pool->where), "%s", place->label);
}

static int read_pool(struct chi_config_pool *pool, const struct chi_config_place *place, struct fy_node *node)
{
	struct fy_node_pair *pair;
	void *at = NULL;

	note_place(pool, place);
	pool->n_containers = 1;
	if (!fy_node_is_mapping(node))
		return chi_config_bad(place, "compose", "a pool is wanted, like { module: blob, containers: 4 }");
	while ((pair = fy_node_mapping_iterate(node, &at))) {
		struct fy_node *name_node = fy_node_pair_key(pair), *value_node = fy_node_pair_value(pair);
		struct chi_config_place here = place_of(place, name_node);
		size_t size = 0, value_size = 0;
		const char *name = node_text(name_node, &size), *value = node_text(value_node, &value_size);
		char seen[48];
		int error;

		if (!name || !value)
			return chi_config_bad(&here, "compose",
					      "a pool's module, name, containers and params are one value each");
		if (!pool->module[0] && !pool->name[0])
			note_place(pool, &here);
		chi_config_quote(name, size, seen);
		here = place_of(&here, value_node);
		error = set_pool_field(pool, &here, seen, value, value_size);
		if (error)
			return error;
	}
	return pool->module[0] ? 0 : chi_config_bad(place, "compose", "a pool without 'module'");
}

static int read_pools(struct chi_config *config, const struct chi_config_place *place, const struct chi_config_key *key,
		      struct fy_node *node)
{
	int n = fy_node_is_sequence(node) ? fy_node_sequence_item_count(node) : -1;
	struct fy_node *item;
	void *at = NULL;

	chi_config_free(config); /* a later layer's list replaces an earlier one's */
	if (n < 0)
		return chi_config_bad(place, key->path, "a list of pools is wanted, like [{ module: blob }]");
	config->compose = calloc((size_t)n + 1, sizeof(*config->compose));
	if (!config->compose)
		return chi_error_set(-ENOMEM, "%s: no memory to read it", place->label);
	while ((item = fy_node_sequence_iterate(node, &at))) {
		int error = read_pool(&config->compose[config->n_compose++], place, item);

		if (error)
			return error;
	}
	return 0;
}

/* ---- keys ---- */

static int read_key(struct chi_config *config, const struct chi_config_place *place, const struct chi_config_key *key,
		    struct fy_node *node)
{
	struct chi_config_place here = place_of(place, node);
	char allowed[CHI_CONFIG_ALLOWED_MAX];
	size_t size = 0;
	const char *value = node_text(node, &size);

	if (key->type == KEY_CPUS)
		return read_cpus(config, place, key, node);
	if (key->type == KEY_POOLS)
		return read_pools(config, place, key, node);
	if (value)
		return chi_config_set_text(config, &here, key, value, size);
	chi_config_describe_allowed(key, allowed);
	return chi_config_bad(&here, key->path, "%s is wanted (%s)",
			      key->choices || key->def_text ? "one value" : "a number", allowed);
}

static int read_mapping(struct reader *reader, struct fy_node *mapping, const char *group);

/* What stands below "workers:". */
static int read_group(struct reader *reader, const struct chi_config_place *place, const char *group,
		      const struct chi_config_key *first, struct fy_node *node)
{
	uint64_t bit = UINT64_C(1) << (first - chi_config_keys);

	if (reader->groups_seen & bit)
		return chi_config_bad(place, group, "stands here a second time");
	reader->groups_seen |= bit;
	if (node_is_nothing(node))
		return 0;
	if (!fy_node_is_mapping(node))
		return chi_config_bad(place, group, "keys below it are wanted, like '%s'", first->path);
	return read_mapping(reader, node, group);
}
_Static_assert(CHI_CONFIG_KEYS_MAX <= 64, "groups_seen has a bit for the first key of each group");

static int read_pair(struct reader *reader, struct fy_node_pair *pair, const char *group)
{
	struct fy_node *node = fy_node_pair_value(pair);
	struct chi_config_place file = { reader->label, 1, 1 }, place = place_of(&file, fy_node_pair_key(pair));
	size_t size = 0;
	const char *text = node_text(fy_node_pair_key(pair), &size);
	const struct chi_config_key *key;
	struct chi_config_origin *origin;
	char path[128], seen[48];

	if (!text)
		return chi_config_bad(&place, NULL, "a key must be a plain word");
	chi_config_quote(text, size, seen);
	snprintf(path, sizeof(path), "%s%s%s", group, *group ? "." : "", seen);
	key = *group ? NULL : chi_config_find_group(path);
	if (key)
		return read_group(reader, &place, path, key, node);
	key = chi_config_find_key(path);
	if (!key)
		return chi_config_unknown_key(&place, path);
	origin = &reader->origins[key - chi_config_keys];
	if (origin->layer == CHI_CONFIG_FILE)
		return chi_config_bad(&place, path, "stands here a second time (first in line %d)", origin->line);
	*origin = (struct chi_config_origin){ CHI_CONFIG_FILE, place.line, place.column };
	return read_key(reader->config, &place, key, node);
}

static int read_mapping(struct reader *reader, struct fy_node *mapping, const char *group)
{
	struct fy_node_pair *pair;
	void *at = NULL;
	int error = 0;

	while (!error && (pair = fy_node_mapping_iterate(mapping, &at)))
		error = read_pair(reader, pair, group);
	return error;
}

/* ---- documents ---- */

static struct fy_diag_error *first_error(struct fy_diag *diag)
{
	struct fy_diag_error *error;
	void *at = NULL;

	while ((error = fy_diag_errors_iterate(diag, &at))) {
		if (error->type == FYET_ERROR)
			return error;
	}
	return NULL;
}

static int syntax_error(const char *label, struct fy_diag *diag)
{
	struct fy_diag_error *error = first_error(diag);
	struct chi_config_place place = { .label = label };

	if (!error)
		return chi_error_set(-EINVAL, "%s: no YAML", label);
	place.line = error->line;
	place.column = error->column;
	return chi_config_bad(&place, NULL, "%s", error->msg);
}

static int read_document(struct reader *reader, struct fy_parser *parser, struct fy_diag *diag)
{
	struct fy_document *document = fy_parse_load_document(parser);
	struct fy_document *second = NULL;
	struct fy_node *root = document ? fy_document_root(document) : NULL;
	struct chi_config_place place = { reader->label, 1, 1 };
	int error = 0;

	if (!document) {
		/* a file of nothing but comments is all defaults */
		return fy_parser_get_stream_error(parser) || first_error(diag) ? syntax_error(reader->label, diag) : 0;
	}
	place = place_of(&place, root);
	if (node_is_nothing(root))
		error = 0;
	else if (!fy_node_is_mapping(root))
		error = chi_config_bad(&place, NULL, "keys and values are wanted, like 'workers: { count: 4 }'");
	else
		error = read_mapping(reader, root, "");
	if (!error) {
		second = fy_parse_load_document(parser);
		if (second)
			error = chi_error_set(-EINVAL, "%s: more than one document", reader->label);
		else if (fy_parser_get_stream_error(parser) || first_error(diag))
			error = syntax_error(reader->label, diag);
	}
	fy_parse_document_destroy(parser, second);
	fy_parse_document_destroy(parser, document);
	return error;
}

/* Nothing of libfyaml may go to stderr: its words are collected and put into ours. */
static struct fy_diag *quiet_diag(void)
{
	struct fy_diag_cfg cfg;
	struct fy_diag *diag;

	fy_diag_cfg_default(&cfg);
	cfg.fp = NULL;
	cfg.output_fn = NULL;
	cfg.colorize = false;
	diag = fy_diag_create(&cfg);
	if (diag)
		fy_diag_set_collect_errors(diag, true);
	return diag;
}

/* libfyaml takes a byte that is no text for the end of the file: what comes after it would be passed over in
 * silence. */
static int check_text(const char *text, size_t size, const char *label)
{
	unsigned int line = 1;

	for (size_t at = 0, n; at < size; at += n) {
		n = text[at] ? chi_config_utf8_length(text + at, size - at) : 0;
		if (!n)
			return chi_error_set(-EINVAL, "%s:%u: byte 0x%02x: no text (UTF-8)", label, line,
					     (unsigned char)text[at]);
		line += text[at] == '\n';
	}
	return 0;
}

int chi_config_read_text(struct chi_config_load *load, const char *text, size_t size, const char *label)
{
	struct fy_parse_cfg cfg = { .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_ALLOW_DUPLICATE_KEYS };
	struct reader reader = { .config = &load->config, .origins = load->origins, .label = label };
	struct fy_parser *parser = NULL;
	int error = check_text(text, size, label);

	if (error)
		return error;
	cfg.diag = quiet_diag();
	if (cfg.diag)
		parser = fy_parser_create(&cfg);
	if (!parser || fy_parser_set_string(parser, text, size))
		error = chi_error_set(-ENOMEM, "%s: no memory to read it", label);
	else
		error = read_document(&reader, parser, cfg.diag);
	fy_parser_destroy(parser);
	fy_diag_destroy(cfg.diag);
	return error;
}

int chi_config_read_list(struct chi_config *config, const struct chi_config_place *place,
			 const struct chi_config_key *key, const char *text)
{
	struct fy_parse_cfg cfg = { .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_ALLOW_DUPLICATE_KEYS };
	struct fy_document *document = NULL;
	int error = check_text(text, strlen(text), place->label);

	if (error)
		return error;
	cfg.diag = quiet_diag();
	if (cfg.diag)
		document = fy_document_build_from_string(&cfg, text, strlen(text));
	if (document)
		error = read_key(config, place, key, fy_document_root(document));
	else
		error = chi_config_bad(place, key->path, "'%.40s' is no YAML", text);
	fy_document_destroy(document);
	fy_diag_destroy(cfg.diag);
	return error;
}

int chi_config_read_file(struct chi_config_load *load, const char *path)
{
	struct stat st;
	char *text = NULL;
	size_t size = 0;
	ssize_t n = 1;
	int fd, error = 0;

	/* not blocking: should it be a pipe, nobody may come to write */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return chi_error_set(-errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0)
		error = chi_error_set(-errno, "%s: %s", path, strerror(errno));
	else if (S_ISDIR(st.st_mode))
		error = chi_error_set(-EISDIR, "%s: a folder, not a file", path);
	else if (!S_ISREG(st.st_mode))
		error = chi_error_set(-EINVAL, "%s: a pipe or a device, not a file", path);
	else
		text = malloc(FILE_MAX_BYTES + 1);
	if (!error && !text)
		error = chi_error_set(-ENOMEM, "%s: no memory to read it", path);
	while (!error && n > 0 && size <= FILE_MAX_BYTES) {
		n = read(fd, text + size, FILE_MAX_BYTES + 1 - size);
		if (n > 0)
			size += (size_t)n;
		else if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			error = chi_error_set(-errno, "%s: %s", path, strerror(errno));
	}
	if (!error && size > FILE_MAX_BYTES)
		error = chi_error_set(-EFBIG, "%s: more than 1 MiB: no configuration", path);
	close(fd);
	if (!error)
		error = chi_config_read_text(load, text, size, path);
	free(text);
	return error;
}
