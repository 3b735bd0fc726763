/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.c - one table of keys; a YAML file is checked against it, line by line
 */
#include "runtime/config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libfyaml.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chimaera/module.h>
#include <hshm/clock.h>

#include "task/error.h"
#include "task/segment_layout.h"

#define FILE_MAX_BYTES (1u << 20)
#define CPUS_MAX       1024u /* CPU_SETSIZE */
#define MIB	       (UINT64_C(1) << 20)
#define REF_MIB_MAX    262144u /* 32 bits of 64-byte units: 256 GiB */

enum key_type {
	KEY_NAME,	/* char[CHI_NAME_MAX] */
	KEY_NUMBER,	/* uint32_t */
	KEY_POWER_OF_2, /* uint32_t */
	KEY_BIG,	/* uint64_t, in `scale` of the file's unit */
	KEY_BOOL,	/* bool */
	KEY_CHOICE,	/* uint32_t or enum: one of `choices`, whose first stands for `min` */
	KEY_CPUS,	/* n_cpus and cpus[] */
};

struct key {
	const char *path;
	enum key_type type;
	const char *unit;
	uint64_t def, min, max; /* in the file's unit */
	uint64_t scale;		/* of the field, in the file's unit */
	size_t offset;
	const char *def_text;
	const char *const *choices;
	const char *help;
};

static const char *const log_levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const guards[] = { "auto", "madvise", "mprotect", NULL };
static const char *const bools[] = { "false", "true", NULL };

#define FIELD(f) offsetof(struct chi_config, f)
#define NAME(path, f, def, help)                                                         \
	{                                                                                \
		path, KEY_NAME, "", 0, 0, CHI_NAME_MAX - 1, 1, FIELD(f), def, NULL, help \
	}
#define NUMBER(path, unit, f, def, min, max, help)                                   \
	{                                                                            \
		path, KEY_NUMBER, unit, def, min, max, 1, FIELD(f), NULL, NULL, help \
	}
#define POWER(path, unit, f, def, min, max, help)                                        \
	{                                                                                \
		path, KEY_POWER_OF_2, unit, def, min, max, 1, FIELD(f), NULL, NULL, help \
	}
#define BIG(path, unit, scale, f, def, min, max, help)                                \
	{                                                                             \
		path, KEY_BIG, unit, def, min, max, scale, FIELD(f), NULL, NULL, help \
	}
#define BOOL(path, f, def, help)                                              \
	{                                                                     \
		path, KEY_BOOL, "", def, 0, 1, 1, FIELD(f), NULL, bools, help \
	}
#define CHOICE(path, f, def, first, choices, help)                                    \
	{                                                                             \
		path, KEY_CHOICE, "", def, first, 0, 1, FIELD(f), NULL, choices, help \
	}

_Static_assert(sizeof(enum chi_fiber_guard) == sizeof(uint32_t), "KEY_CHOICE writes 32 bits");

static const struct key keys[] = {
	NAME("name", name, "default", "of the runtime, and so of its socket"),
	NAME("group", group, "", "whose members may connect; empty: the same user only"),
	CHOICE("log_level", log_level, CHI_LOG_INFO, CHI_LOG_ERROR, log_levels, "how much the log says"),
	BIG("stop_timeout_ms", "ms", HSHM_NSEC_PER_MSEC, stop_timeout_ns, 10000, 0, 86400000,
	    "how long a stop waits for tasks in flight"),

	NUMBER("workers.count", "threads", n_workers, 0, 0, CHI_WORKERS_MAX, "0: one for each CPU we may run on"),
	NUMBER("workers.high_latency", "threads", n_high_latency, 0, 0, CHI_WORKERS_MAX - 1,
	       "of them, only for high-latency lanes; 0: all serve both kinds"),
	{ "workers.cpus", KEY_CPUS, "CPUs", 0, 0, CPUS_MAX - 1, 1, FIELD(cpus), NULL, NULL,
	  "worker i is bound to the i-th, round and round; empty: not bound" },
	NUMBER("workers.lane_batch", "tasks", lane_batch, 64, 1, 65536, "at most so many of one lane in a turn"),
	BIG("workers.spin_us", "us", HSHM_NSEC_PER_USEC, spin_ns, 50, 0, 1000000,
	    "how long a worker looks for work before it sleeps"),
	NUMBER("workers.hot_lanes", "lanes", hot_lanes_max, 256, 0, 1024, "client lanes that a worker polls"),
	POWER("workers.active_depth", "slots", active_depth, 1024, 2, HIPC_MPSC_DEPTH_MAX, "of each active queue"),
	BOOL("workers.completion_posting", completion_posting, 1,
	     "completions wake who waits; false: the wait heap alone finds them"),
	BOOL("workers.run_in_place", run_in_place, 1,
	     "run a task at once when its container lane is the worker's own and empty"),

	BIG("fibers.stack_kib", "KiB", 1024, stack_bytes, 64, 16, 65536, "stack of a task, whole pages"),
	NUMBER("fibers.max", "fibers", fibers_max, 16384, 1, 1u << 20, "of one worker: tasks that have begun"),
	CHOICE("fibers.guard", fiber_guard, CHI_FIBER_GUARD_AUTO, CHI_FIBER_GUARD_AUTO, guards,
	       "what lies below a stack; auto: madvise where the kernel has it"),

	NUMBER("clients.max", "processes", clients_max, 1024, 1, 16384, "attached at once"),
	BIG("clients.memory_mib", "MiB", MIB, client_bytes, 4096, 1, REF_MIB_MAX,
	    "cap of one client's segment; pages come as they are used"),
	NUMBER("clients.lanes", "lanes", client_lanes, 16, 1, 1024, "of one client; further threads share"),
	POWER("clients.lane_depth", "slots", client_lane_depth, 1024, 2, HIPC_MPSC_DEPTH_MAX, "of a client's lane"),
	NUMBER("clients.contexts", "tasks", client_contexts_max, 4096, 1, 1u << 20,
	       "of one client, taken and not ended; at the cap its lanes wait"),

	BIG("memory.private_mib", "MiB", MIB, private_bytes, 16384, 64, REF_MIB_MAX,
	    "cap of the runtime's own: tasks, container lanes, module memory"),
	POWER("memory.lane_depth", "slots", container_lane_depth, 1024, 2, HIPC_MPSC_DEPTH_MAX,
	      "of a container's lane"),
};
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

struct load {
	const char *label;
	struct chi_config config;
	int lines[N_KEYS]; /* where each key was set, from 1; 0: not set */
	int columns[N_KEYS];
};

static void *field_of(struct chi_config *config, const struct key *key)
{
	return (char *)config + key->offset;
}

static void set_number(struct chi_config *config, const struct key *key, uint64_t value)
{
	switch (key->type) {
	case KEY_NUMBER:
	case KEY_POWER_OF_2:
	case KEY_CHOICE:
		*(uint32_t *)field_of(config, key) = (uint32_t)value;
		break;
	case KEY_BIG:
		*(uint64_t *)field_of(config, key) = value * key->scale;
		break;
	case KEY_BOOL:
		*(bool *)field_of(config, key) = value != 0;
		break;
	case KEY_NAME:
	case KEY_CPUS:
		break;
	}
}

void chi_config_defaults(struct chi_config *config)
{
	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < N_KEYS; i++) {
		if (keys[i].type == KEY_NAME)
			strcpy(field_of(config, &keys[i]), keys[i].def_text);
		else
			set_number(config, &keys[i], keys[i].def);
	}
}

/* ---- what may be said about a key ---- */

static void describe_allowed(const struct key *key, char *text, size_t size)
{
	switch (key->type) {
	case KEY_NAME:
		snprintf(text, size, "allowed: at most %" PRIu64 " letters, digits and . _ -", key->max);
		break;
	case KEY_NUMBER:
	case KEY_BIG:
	case KEY_CPUS:
		snprintf(text, size, "allowed %" PRIu64 "..%" PRIu64, key->min, key->max);
		break;
	case KEY_POWER_OF_2:
		snprintf(text, size, "allowed: powers of two in %" PRIu64 "..%" PRIu64, key->min, key->max);
		break;
	case KEY_BOOL:
	case KEY_CHOICE:
		snprintf(text, size, "allowed:");
		for (const char *const *choice = key->choices; *choice; choice++) {
			size_t used = strlen(text);

			snprintf(text + used, size - used, "%s %s", choice == key->choices ? "" : ",", *choice);
		}
		break;
	}
}

/* what stood in the file, short and printable */
static void quote(const char *value, size_t size, char text[48])
{
	size_t n = size < 40 ? size : 40;

	for (size_t i = 0; i < n; i++)
		text[i] = (value[i] >= 0x20 && value[i] < 0x7f) ? value[i] : '?';
	strcpy(text + n, size > n ? "..." : "");
}

static int bad(const struct load *load, int line, int column, const char *path, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

static int bad(const struct load *load, int line, int column, const char *path, const char *format, ...)
{
	char text[320];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return path ? chi_error_set(-EINVAL, "%s:%d:%d: key '%s': %s", load->label, line, column, path, text)
		    : chi_error_set(-EINVAL, "%s:%d:%d: %s", load->label, line, column, text);
}

/* ---- values ---- */

static bool parse_number(const char *value, size_t size, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (!size)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (value[i] < '0' || value[i] > '9')
			return false;
		if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
		    __builtin_add_overflow(number, (uint64_t)(value[i] - '0'), &number))
			number = UINT64_MAX; /* too large for any key */
	}
	*ret_number = number;
	return true;
}

static bool name_is_allowed(const char *value, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char c = value[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
		    (!c || !strchr("._-", c) || i == 0)) /* strchr() finds the end, too */
			return false;
	}
	return true;
}

static void node_position(struct fy_node *node, int *line, int *column)
{
	struct fy_token *token = node && fy_node_is_scalar(node) ? fy_node_get_scalar_token(node) : NULL;
	const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;

	/* lists and mappings have no place of their own: that of their key stays */
	if (mark) {
		*line = mark->line + 1;
		*column = mark->column + 1;
	}
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

static int number_of_node(const struct load *load, const struct key *key, struct fy_node *node, int line, int column,
			  uint64_t *ret_number)
{
	size_t size = 0;
	const char *value = node_text(node, &size);
	char allowed[128], seen[48];
	uint64_t number;

	node_position(node, &line, &column);
	describe_allowed(key, allowed, sizeof(allowed));
	if (!value)
		return bad(load, line, column, key->path, "a number is wanted (%s)", allowed);
	quote(value, size, seen);
	if (!parse_number(value, size, &number))
		return bad(load, line, column, key->path, "%s is no number (%s)", size ? seen : "nothing", allowed);
	if (number < key->min || number > key->max)
		return bad(load, line, column, key->path, "%s is out of range (%s)", seen, allowed);
	if (key->type == KEY_POWER_OF_2 && (number & (number - 1)))
		return bad(load, line, column, key->path, "%s is no power of two (%s)", seen, allowed);
	*ret_number = number;
	return 0;
}

static int set_cpus(struct load *load, const struct key *key, struct fy_node *node, int line, int column)
{
	struct fy_node *item;
	void *place = NULL;
	cpu_set_t ours;
	uint32_t n = 0;

	if (!fy_node_is_sequence(node))
		return bad(load, line, column, key->path, "a list of CPUs is wanted, like [0, 1]");
	if (sched_getaffinity(0, sizeof(ours), &ours))
		memset(&ours, 0xff, sizeof(ours)); /* more CPUs than the set has bits: the binding itself will tell */
	while ((item = fy_node_sequence_iterate(node, &place))) {
		uint64_t cpu = 0;
		int error = number_of_node(load, key, item, line, column, &cpu);

		if (error)
			return error;
		node_position(item, &line, &column);
		if (!CPU_ISSET(cpu, &ours))
			return bad(load, line, column, key->path, "this process may not run on CPU %" PRIu64, cpu);
		if (n == CHI_WORKERS_MAX)
			return bad(load, line, column, key->path, "more than %u CPUs", CHI_WORKERS_MAX);
		load->config.cpus[n++] = (uint32_t)cpu;
	}
	load->config.n_cpus = n;
	return 0;
}

static int set_key(struct load *load, const struct key *key, struct fy_node *node, int line, int column)
{
	size_t size = 0;
	const char *value = node_text(node, &size);
	char allowed[128], seen[48];
	uint64_t number = 0;
	int error;

	switch (key->type) {
	case KEY_CPUS:
		return set_cpus(load, key, node, line, column);
	case KEY_NUMBER:
	case KEY_POWER_OF_2:
	case KEY_BIG:
		error = number_of_node(load, key, node, line, column, &number);
		if (!error)
			set_number(&load->config, key, number);
		return error;
	default:
		break;
	}

	node_position(node, &line, &column);
	describe_allowed(key, allowed, sizeof(allowed));
	if (!value)
		return bad(load, line, column, key->path, "one value is wanted (%s)", allowed);
	quote(value, size, seen);
	if (key->type == KEY_NAME) {
		char *field = field_of(&load->config, key);

		if (size > key->max || !name_is_allowed(value, size) || (!size && key->def_text[0]))
			return bad(load, line, column, key->path, "'%s' is no name (%s)", seen, allowed);
		memset(field, 0, CHI_NAME_MAX);
		memcpy(field, value, size);
		return 0;
	}
	for (uint32_t i = 0; key->choices[i]; i++) {
		if (strlen(key->choices[i]) == size && memcmp(key->choices[i], value, size) == 0) {
			set_number(&load->config, key, key->min + i);
			return 0;
		}
	}
	return bad(load, line, column, key->path, "'%s' is not known (%s)", seen, allowed);
}

/* ---- keys ---- */

static uint32_t edit_distance(const char *a, const char *b)
{
	uint32_t row[64];
	size_t n = strlen(b);

	if (n >= 64)
		return UINT32_MAX;
	for (uint32_t j = 0; j <= n; j++)
		row[j] = j;
	for (uint32_t i = 0; a[i]; i++) {
		uint32_t corner = row[0];

		row[0] = i + 1;
		for (uint32_t j = 0; j < n; j++) {
			uint32_t best = corner + (a[i] != b[j]);

			corner = row[j + 1];
			if (corner + 1 < best)
				best = corner + 1;
			if (row[j] + 1 < best)
				best = row[j] + 1;
			row[j + 1] = best;
		}
	}
	return row[n];
}

static int unknown_key(const struct load *load, const char *path, int line, int column)
{
	const char *leaf = strrchr(path, '.');
	const char *nearest = NULL;
	uint32_t best = 4; /* further away is no typing error */

	leaf = leaf ? leaf + 1 : path;
	for (size_t i = 0; i < N_KEYS; i++) {
		const char *key_leaf = strrchr(keys[i].path, '.');
		uint32_t distance = edit_distance(path, keys[i].path);

		/* the right key in the wrong group */
		if (key_leaf && strcmp(key_leaf + 1, leaf) == 0 && distance > 1)
			distance = 1;
		if (distance < best) {
			best = distance;
			nearest = keys[i].path;
		}
	}
	if (nearest)
		return bad(load, line, column, path, "there is no such key; is '%s' meant?", nearest);
	return bad(load, line, column, path, "there is no such key");
}

static bool is_group(const char *path)
{
	size_t n = strlen(path);

	for (size_t i = 0; i < N_KEYS; i++) {
		if (strncmp(keys[i].path, path, n) == 0 && keys[i].path[n] == '.')
			return true;
	}
	return false;
}

static int walk(struct load *load, struct fy_node *mapping, const char *group, uint64_t *groups_seen)
{
	struct fy_node_pair *pair;
	void *place = NULL;

	while ((pair = fy_node_mapping_iterate(mapping, &place))) {
		struct fy_node *node = fy_node_pair_value(pair);
		size_t size = 0;
		const char *text = node_text(fy_node_pair_key(pair), &size);
		int line = 1, column = 1, error;
		char path[128], seen[48];
		size_t i;

		node_position(fy_node_pair_key(pair), &line, &column);
		if (!text)
			return bad(load, line, column, NULL, "a key must be a plain word");
		quote(text, size, seen);
		snprintf(path, sizeof(path), "%s%s%s", group, *group ? "." : "", seen);

		if (!*group && is_group(path)) {
			for (i = 0; strncmp(keys[i].path, path, strlen(path)) != 0; i++)
				;
			if (*groups_seen & (UINT64_C(1) << i))
				return bad(load, line, column, path, "stands here a second time");
			*groups_seen |= UINT64_C(1) << i;
			if (node_is_nothing(node))
				continue;
			if (!fy_node_is_mapping(node))
				return bad(load, line, column, path, "keys below it are wanted, like '%s'",
					   keys[i].path);
			error = walk(load, node, path, groups_seen);
			if (error)
				return error;
			continue;
		}

		for (i = 0; i < N_KEYS && strcmp(keys[i].path, path) != 0; i++)
			;
		if (i == N_KEYS)
			return unknown_key(load, path, line, column);
		if (load->lines[i])
			return bad(load, line, column, path, "stands here a second time (first in line %d)",
				   load->lines[i]);
		load->lines[i] = line;
		load->columns[i] = column;
		error = set_key(load, &keys[i], node, line, column);
		if (error)
			return error;
	}
	return 0;
}
_Static_assert(N_KEYS <= 64, "groups_seen has a bit for the first key of each group");

/* the place of a key in the file, for errors that concern two of them */
static int bad_key(const struct load *load, const char *path, const char *text)
{
	size_t i;

	for (i = 0; strcmp(keys[i].path, path) != 0; i++)
		;
	return load->lines[i] ? bad(load, load->lines[i], load->columns[i], path, "%s", text)
			      : chi_error_set(-EINVAL, "%s: key '%s': %s", load->label, path, text);
}

static uint32_t cpus_available(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (uint32_t)CPU_COUNT(&set);
}

static int cross_check(const struct load *load)
{
	const struct chi_config *config = &load->config;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint32_t count = config->n_workers ? config->n_workers : cpus_available();
	char text[128];
	uint64_t heap;

	if (config->n_high_latency && config->n_high_latency >= count) {
		snprintf(text, sizeof(text), "%u of %u workers: at least one must be left for low-latency lanes",
			 config->n_high_latency, count);
		return bad_key(load, "workers.high_latency", text);
	}
	if (config->stack_bytes % page) {
		snprintf(text, sizeof(text), "%" PRIu64 " KiB are no multiple of the page, %" PRIu64 " KiB",
			 config->stack_bytes / 1024, page / 1024);
		return bad_key(load, "fibers.stack_kib", text);
	}
	heap = chi_client_heap_offset(config->client_lanes, config->client_lane_depth);
	if (!heap || heap + MIB / 2 > config->client_bytes) {
		snprintf(text, sizeof(text), "%" PRIu64 " MiB are too small for %u lanes of %u slots",
			 config->client_bytes / MIB, config->client_lanes, config->client_lane_depth);
		return bad_key(load, "clients.memory_mib", text);
	}
	return 0;
}

/* ---- the file ---- */

static int syntax_error(const struct load *load, struct fy_diag *diag)
{
	struct fy_diag_error *error;
	void *place = NULL;

	while ((error = fy_diag_errors_iterate(diag, &place))) {
		if (error->type == FYET_ERROR)
			return bad(load, error->line, error->column, NULL, "%s", error->msg);
	}
	return chi_error_set(-EINVAL, "%s: no YAML", load->label);
}

static bool diag_has_error(struct fy_diag *diag)
{
	struct fy_diag_error *error;
	void *place = NULL;

	while ((error = fy_diag_errors_iterate(diag, &place))) {
		if (error->type == FYET_ERROR)
			return true;
	}
	return false;
}

static int load_document(struct load *load, struct fy_parser *parser, struct fy_diag *diag)
{
	struct fy_document *document = fy_parse_load_document(parser);
	struct fy_document *second = NULL;
	struct fy_node *root = document ? fy_document_root(document) : NULL;
	uint64_t groups_seen = 0;
	int line = 1, column = 1, error;

	if (!document) {
		/* a file of nothing but comments is all defaults */
		if (fy_parser_get_stream_error(parser) || diag_has_error(diag))
			return syntax_error(load, diag);
		return cross_check(load);
	}
	node_position(root, &line, &column);
	if (node_is_nothing(root))
		error = 0;
	else if (!fy_node_is_mapping(root))
		error = bad(load, line, column, NULL, "keys and values are wanted, like 'workers: { count: 4 }'");
	else
		error = walk(load, root, "", &groups_seen);
	if (!error) {
		second = fy_parse_load_document(parser);
		if (second)
			error = chi_error_set(-EINVAL, "%s: more than one document", load->label);
		else if (fy_parser_get_stream_error(parser) || diag_has_error(diag))
			error = syntax_error(load, diag);
	}
	fy_parse_document_destroy(parser, second);
	fy_parse_document_destroy(parser, document);
	return error ? error : cross_check(load);
}

/* Bytes of the well-formed UTF-8 character at the start of the text; 0: there is none. */
static size_t utf8_length(const unsigned char *text, size_t size)
{
	unsigned char lead = text[0], low = 0x80, high = 0xbf;
	size_t n = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;

	/* the second byte has narrower bounds after some: no overlong forms, no surrogates, nothing beyond U+10FFFF */
	if (lead == 0xe0)
		low = 0xa0;
	else if (lead == 0xed)
		high = 0x9f;
	else if (lead == 0xf0)
		low = 0x90;
	else if (lead == 0xf4)
		high = 0x8f;
	if (n > size)
		return 0;
	for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
		if (text[i] < low || text[i] > high)
			return 0;
	return n;
}

/* libfyaml takes a byte that is no text for the end of the file: what comes after it would be passed over in silence. */
static int check_text(const char *text, size_t size, const char *label)
{
	unsigned int line = 1;

	for (size_t at = 0, n; at < size; at += n) {
		n = text[at] ? utf8_length((const unsigned char *)text + at, size - at) : 0;
		if (!n)
			return chi_error_set(-EINVAL, "%s:%u: byte 0x%02x: no text (UTF-8)", label, line,
					     (unsigned char)text[at]);
		line += text[at] == '\n';
	}
	return 0;
}

static int load_bytes(const char *text, size_t size, const char *label, struct chi_config *ret_config)
{
	struct fy_diag_cfg diag_cfg;
	struct fy_parse_cfg parse_cfg = { .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_ALLOW_DUPLICATE_KEYS };
	struct load load = { .label = label };
	struct fy_parser *parser = NULL;
	int error;

	chi_config_defaults(&load.config);
	error = check_text(text, size, label);
	if (error)
		return error;

	/* nothing of libfyaml may go to stderr: its words are collected and put into ours */
	fy_diag_cfg_default(&diag_cfg);
	diag_cfg.fp = NULL;
	diag_cfg.output_fn = NULL;
	diag_cfg.colorize = false;
	parse_cfg.diag = fy_diag_create(&diag_cfg);
	if (!parse_cfg.diag)
		return chi_error_set(-ENOMEM, "%s: no memory to read it", label);
	fy_diag_set_collect_errors(parse_cfg.diag, true);
	parser = fy_parser_create(&parse_cfg);
	if (!parser || fy_parser_set_string(parser, text, size))
		error = chi_error_set(-ENOMEM, "%s: no memory to read it", label);
	else
		error = load_document(&load, parser, parse_cfg.diag);
	fy_parser_destroy(parser);
	fy_diag_destroy(parse_cfg.diag);
	if (!error)
		*ret_config = load.config;
	return error;
}

int chi_config_load_text(const char *text, const char *label, struct chi_config *ret_config)
{
	return load_bytes(text, strlen(text), label, ret_config);
}

int chi_config_load_file(const char *path, struct chi_config *ret_config)
{
	struct stat st;
	char *text = NULL;
	size_t size = 0;
	ssize_t n = 1;
	int fd, error = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return chi_error_set(-errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		error = chi_error_set(-EISDIR, "%s: a folder, not a file", path);
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
		error = load_bytes(text, size, path, ret_config);
	free(text);
	return error;
}

void chi_config_write_keys(FILE *out)
{
	size_t group_size = 0;

	fprintf(out, "# Every key of the configuration, with its default.\n");
	for (size_t i = 0; i < N_KEYS; i++) {
		const struct key *key = &keys[i];
		const char *leaf = strchr(key->path, '.');
		char allowed[128];

		if (leaf && (!group_size || strncmp(key->path, keys[i - 1].path, group_size + 1) != 0)) {
			group_size = (size_t)(leaf - key->path);
			fprintf(out, "\n%.*s:\n", (int)group_size, key->path);
		}
		describe_allowed(key, allowed, sizeof(allowed));
		fprintf(out, "%s%s: ", leaf ? "  " : "", leaf ? leaf + 1 : key->path);
		switch (key->type) {
		case KEY_NAME:
			fprintf(out, "\"%s\"", key->def_text);
			break;
		case KEY_CPUS:
			fprintf(out, "[]");
			break;
		case KEY_BOOL:
		case KEY_CHOICE:
			fprintf(out, "%s", key->choices[key->def - key->min]);
			break;
		default:
			fprintf(out, "%" PRIu64, key->def);
			break;
		}
		fprintf(out, " # %s%s%s (%s)\n", key->unit, *key->unit ? "; " : "", key->help, allowed);
	}
}
