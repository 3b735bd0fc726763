/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_internal.h - what the files of the configuration share
 *
 *   config_table.c   the keys, and what is said about them
 *   config_value.c   text to a key's field and back
 *   config_yaml.c    a YAML file, and values that are lists
 *   config.c         the layers, one over the other; what keys have to be together
 */
#ifndef RUNTIME_CONFIG_INTERNAL_H
#define RUNTIME_CONFIG_INTERNAL_H

#include "runtime/config.h"

#define CHI_CONFIG_VARIABLE_MAX 64u
#define CHI_CONFIG_ALLOWED_MAX	128u

enum chi_config_type {
	KEY_NAME,	/* char[CHI_NAME_MAX] */
	KEY_PATH,	/* char[CHI_CONFIG_PATH_MAX] */
	KEY_NUMBER,	/* uint32_t */
	KEY_POWER_OF_2, /* uint32_t */
	KEY_BIG,	/* uint64_t, in `scale` of the file's unit */
	KEY_BOOL,	/* bool */
	KEY_CHOICE,	/* uint32_t or enum: one of `choices`, whose first stands for `min` */
	KEY_CPUS,	/* n_cpus and cpus[] */
	KEY_POOLS,	/* n_compose and compose[] */
};

struct chi_config_key {
	const char *path; /* "workers.count" */
	enum chi_config_type type;
	const char *unit;
	uint64_t def, min, max; /* in the file's unit */
	uint64_t scale;		/* of the field, in the file's unit */
	size_t offset;
	const char *def_text;
	const char *const *choices;
	const char *help;
	bool live; /* chi_runtime_reload() changes it */
};

extern const struct chi_config_key chi_config_keys[];
extern const size_t chi_config_n_keys;

/* Where a text comes from, for errors about it. */
struct chi_config_place {
	const char *label; /* "chimaera.yaml", "--set workers.count" */
	int line, column;  /* from 1; 0: it has none */
};

struct chi_config_load {
	struct chi_config config;
	struct chi_config_origin origins[CHI_CONFIG_KEYS_MAX];
};

/* Set chi_error_text(): "PLACE: key 'PATH': TEXT"; @path may be NULL. Returns -EINVAL. */
int chi_config_bad(const struct chi_config_place *place, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- config_table.c ---- */

static inline void *chi_config_field(const struct chi_config *config, const struct chi_config_key *key)
{
	return (char *)config + key->offset;
}

/* NULL: there is none of that path. */
const struct chi_config_key *chi_config_find_key(const char *path);
/* The first key of a group, "workers"; NULL: there is no such group. */
const struct chi_config_key *chi_config_find_group(const char *group);
/* Refuse a path that is no key's, and name the one that may be meant. */
int chi_config_unknown_key(const struct chi_config_place *place, const char *path);
/* "allowed 0..64", "allowed: false, true" */
void chi_config_describe_allowed(const struct chi_config_key *key, char text[CHI_CONFIG_ALLOWED_MAX]);
/* CHIMAERA_WORKERS_COUNT */
void chi_config_variable(const struct chi_config_key *key, char name[CHI_CONFIG_VARIABLE_MAX]);
/* The variable's name of a key that @variable nearly is; else NULL, also when it is one. */
const char *chi_config_variable_meant(const char *variable, char name[CHI_CONFIG_VARIABLE_MAX]);

/* ---- config_value.c ---- */

static inline bool chi_config_is_list(const struct chi_config_key *key)
{
	return key->type == KEY_CPUS || key->type == KEY_POOLS;
}

/* What was read, short and printable. */
void chi_config_quote(const char *value, size_t size, char text[48]);
void chi_config_set_default(struct chi_config *config, const struct chi_config_key *key);
/* A number within the key's limits. */
int chi_config_parse_number(const struct chi_config_place *place, const struct chi_config_key *key, const char *value,
			    size_t size, uint64_t *ret_number);
/* Bytes of the well-formed UTF-8 character at the start of the text (@size is not 0); 0: there is none. */
size_t chi_config_utf8_length(const char *text, size_t size);
/* The name of a runtime or a pool. */
bool chi_config_name_is_allowed(const char *value, size_t size);
/* Set a key that is no list. */
int chi_config_set_text(struct chi_config *config, const struct chi_config_place *place,
			const struct chi_config_key *key, const char *value, size_t size);
/* Take over one key's value, which is no list, from another configuration. */
void chi_config_copy_field(struct chi_config *config, const struct chi_config *from, const struct chi_config_key *key);
/* The key's value as YAML on one line; it can be read again. */
char *chi_config_value_text(const struct chi_config *config,
			    const struct chi_config_key *key); /* free(); NULL: no memory */
void chi_config_write_value(FILE *out, const struct chi_config *config, const struct chi_config_key *key);

/* ---- config_yaml.c ---- */

/* The whole of a file. @label: in errors; lent until the call returns. */
int chi_config_read_file(struct chi_config_load *load, const char *path);
int chi_config_read_text(struct chi_config_load *load, const char *text, size_t size, const char *label);
/* The value of one key that is a list: "[0, 1]". */
int chi_config_read_list(struct chi_config *config, const struct chi_config_place *place,
			 const struct chi_config_key *key, const char *text);

#endif
