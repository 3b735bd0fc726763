/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_fuzz.c - the configuration: a file, the environment, --set, --name, and a reload
 *
 * An input is text, changed by a mutator that makes its lines from the table of keys:
 *
 *	YAML ...		the file, up to the first of
 *	%env			then lines NAME=VALUE: CHIMAERA_NAME
 *	%set			KEY=VALUE: --set
 *	%name			the rest of the line after it: --name
 *	%reload			YAML that is read again, and taken by a runtime with the configuration before
 *
 * Held up: nothing crashes or leaks; what is refused says why; what is accepted can be written as YAML and read again, to the
 * same; a reload changes live keys only, and none when it is refused.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/config_internal.h"
#include "runtime/log.h"
#include "runtime/reload.h"
#include "runtime/runtime.h"
#include "task/error.h"

#define LINES_MAX 64u

static int yaml_fd = -1;
static char yaml_path[64];

/* The parts of an input, each with a NUL behind it. */
struct parts {
	char *yaml, *reload;
	size_t yaml_size;
	char *environment[LINES_MAX + 1];
	const char *settings[LINES_MAX + 1];
	const char *name;
	uint32_t n_environment, n_settings;
};

/* ---- the input ---- */

static void add_variable(struct parts *parts, const char *line)
{
	static char variables[LINES_MAX][512];
	char *variable = variables[parts->n_environment];

	if (parts->n_environment == LINES_MAX)
		return;
	snprintf(variable, sizeof(variables[0]), "CHIMAERA_%s", line);
	parts->environment[parts->n_environment++] = variable;
	parts->environment[parts->n_environment] = NULL;
}

static void add_line(struct parts *parts, char part, char *line)
{
	if (part == 'e')
		add_variable(parts, line);
	else if (part == 's' && parts->n_settings < LINES_MAX)
		parts->settings[parts->n_settings++] = line;
}

/* @text: @size bytes and a NUL; lent as long as the parts. */
static void split(struct parts *parts, char *text, size_t size)
{
	char part = 'y', *end = text + size;

	*parts = (struct parts){ .yaml = text, .yaml_size = size };
	for (char *line = text, *next; line < end && part != 'r'; line = next) {
		char *line_end = memchr(line, '\n', (size_t)(end - line));

		line_end = line_end ? line_end : end;
		next = line_end < end ? line_end + 1 : end;
		if (*line != '%') {
			if (part == 'y')
				continue;
			*line_end = '\0';
			add_line(parts, part, line);
			continue;
		}
		if (part == 'y')
			parts->yaml_size = (size_t)(line - text);
		part = line[1];
		*line_end = '\0';
		*line = '\0'; /* ends what stood before it */
		if (part == 'n')
			parts->name = line + strcspn(line + 1, " ") + 1 + (line[1 + strcspn(line + 1, " ")] == ' ');
		if (part == 'r')
			parts->reload = next;
	}
}

/* Half of them from a file, which may hold any byte. */
static bool put_yaml(const struct parts *parts, struct chi_config_layers *layers)
{
	bool as_file = parts->yaml_size % 2 || memchr(parts->yaml, 0, parts->yaml_size);

	layers->text = parts->yaml;
	if (!as_file)
		return false;
	fuzz_check(ftruncate(yaml_fd, 0) == 0 &&
		   pwrite(yaml_fd, parts->yaml, parts->yaml_size, 0) == (ssize_t)parts->yaml_size);
	layers->file = yaml_path;
	return true;
}

/* ---- what must hold ---- */

/* The whole configuration as a file; free(). */
static char *write_yaml(const struct chi_config *config)
{
	char *text = NULL, group[64] = "";
	size_t size;
	FILE *out = open_memstream(&text, &size);

	fuzz_check(out);
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		const char *path = chi_config_keys[i].path, *leaf = strchr(path, '.');
		int n = leaf ? (int)(leaf - path) : 0;

		if (leaf && (strncmp(group, path, (size_t)n) != 0 || group[n])) {
			snprintf(group, sizeof(group), "%.*s", n, path);
			fprintf(out, "%s:\n", group);
		}
		fprintf(out, "%s%s: ", leaf ? "  " : "", leaf ? leaf + 1 : path);
		chi_config_write_value(out, config, &chi_config_keys[i]);
		fputc('\n', out);
	}
	fclose(out);
	return text;
}

static void check_can_be_read_again(const struct chi_config *config)
{
	char *text = write_yaml(config), *again;
	struct chi_config_layers layers = { .text = text };
	struct chi_config copy;

	if (chi_config_load(&layers, &copy, NULL) < 0)
		fuzz_fail("what was accepted is refused when it is read again: %s\n%s", chi_error_text(), text);
	again = write_yaml(&copy);
	if (strcmp(text, again) != 0)
		fuzz_fail("another configuration when it is read again:\n%s\n%s", text, again);
	chi_config_free(&copy);
	free(again);
	free(text);
}

static void check_origins(const struct chi_config_layers *layers, const struct chi_config_origin *origins)
{
	char text[CHI_CONFIG_PATH_MAX + 32];

	for (size_t i = 0; i < chi_config_n_keys; i++) {
		chi_config_origin_text(layers, i, &origins[i], text, sizeof(text));
		fuzz_check(*text);
	}
}

static void check_reload(struct chi_config *config, char *yaml)
{
	static struct chi_runtime runtime; /* as much of it as a reload looks at */
	struct chi_config before = *config;
	struct chi_config fresh;
	int rc;

	runtime.config = *config;
	runtime.layers = (struct chi_config_layers){ .text = yaml };
	/* the log's file would be made where the input likes */
	rc = chi_config_load(&runtime.layers, &fresh, NULL);
	if (rc == 0 && strchr(fresh.log_file, '/')) {
		chi_config_free(&fresh);
		return;
	}
	if (rc == 0)
		chi_config_free(&fresh);
	fuzz_check(chi_runtime_reload(&runtime) == rc || rc == 0);
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		char *is = chi_config_value_text(&runtime.config, &chi_config_keys[i]);
		char *was = chi_config_value_text(&before, &chi_config_keys[i]);

		fuzz_check(is && was && ((rc == 0 && chi_config_keys[i].live) || strcmp(is, was) == 0));
		free(is);
		free(was);
	}
	*config = runtime.config;
}

/* ---- one input ---- */

static void load(struct parts *parts)
{
	struct chi_config_layers layers = {
		.environment = parts->n_environment > 0,
		.settings = parts->settings,
		.name = parts->name,
	};
	struct chi_config_origin origins[CHI_CONFIG_KEYS_MAX];
	struct chi_config config;
	char **environment = environ;
	int rc;

	put_yaml(parts, &layers);
	environ = parts->environment;
	chi_error_set(0, "%s", "");
	rc = chi_config_load(&layers, &config, origins);
	environ = environment;
	if (rc < 0) {
		fuzz_check(*chi_error_text());
		return;
	}
	check_origins(&layers, origins);
	check_can_be_read_again(&config);
	if (parts->reload)
		check_reload(&config, parts->reload);
	chi_config_free(&config);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_init();
	fuzz_enter_folder();
	yaml_fd = memfd_create("yaml", MFD_CLOEXEC);
	snprintf(yaml_path, sizeof(yaml_path), "/proc/self/fd/%d", yaml_fd);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct parts parts;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	split(&parts, text, size);
	load(&parts);
	free(text);
	return 0;
}

/* ---- lines from the table ---- */

static const char *const odd_values[] = {
	"",
	"~",
	"null",
	"''",
	"\"\"",
	"-1",
	"+4",
	"0x10",
	"1e3",
	"18446744073709551616",
	"4294967296",
	"[]",
	"[0]",
	"[0, 1]",
	"[0, 0]",
	"{}",
	"!!int 3",
	"&a 3",
	"*a",
	"|",
	"\"\\u0000\"",
	"\"\\x7f\"",
	"\xff",
	"a\x9e/",
	"\xc2\x80",
	"a b",
	"../x",
	"x.y",
	"true",
	"no",
	"1.5",
	"[{ module: blob }]",
	"[{ module: blob, name: a, containers: 2, params: \"p\" }]",
	"[{ module: m, params: \"\\n\\t\\\"\" }, { module: n }]",
	"'# no comment'",
	"? x",
	"<<",
	"--- x",
};

static void make_value(uint64_t *random, const struct chi_config_key *key, char value[128])
{
	uint64_t numbers[] = { key->min, key->max, key->def, key->max + 1, key->min - 1, 1, 64, 4096 };
	uint32_t kind = fuzz_random(random, 4);
	uint32_t n = 0;

	if (kind == 0 || key->type == KEY_POOLS || key->type == KEY_CPUS) {
		snprintf(value, 128, "%s", odd_values[fuzz_random(random, sizeof(odd_values) / sizeof(odd_values[0]))]);
	} else if (key->choices) {
		while (key->choices[n])
			n++;
		snprintf(value, 128, "%s", key->choices[fuzz_random(random, n)]);
	} else if (key->def_text) {
		snprintf(value, 128, "%.*s", (int)fuzz_random(random, 80),
			 "abcdefghijklmnopqrstuvwxyz.-_0123456789abcdefghijklmnopqrstuvwxyz.-_0123456789");
	} else {
		snprintf(value, 128, "%llu", (unsigned long long)numbers[fuzz_random(random, 8)]);
	}
}

static void make_line(uint64_t *random, char line[FUZZ_LINE_MAX])
{
	static const char *const parts[] = { "%env", "%set", "%name x", "%reload", "---", "...", "# x", "%YAML 1.2" };
	const struct chi_config_key *key = &chi_config_keys[fuzz_random(random, (uint32_t)chi_config_n_keys)];
	const char *leaf = strchr(key->path, '.');
	char value[128], variable[CHI_CONFIG_VARIABLE_MAX];

	make_value(random, key, value);
	switch (fuzz_random(random, 6)) {
	case 0:
		snprintf(line, FUZZ_LINE_MAX, "%s", parts[fuzz_random(random, sizeof(parts) / sizeof(parts[0]))]);
		break;
	case 1:
		chi_config_variable(key, variable);
		snprintf(line, FUZZ_LINE_MAX, "%s=%s", variable + strlen("CHIMAERA_"), value);
		break;
	case 2:
		snprintf(line, FUZZ_LINE_MAX, "%s=%s", key->path, value);
		break;
	case 3: /* only the end of a group that stands before */
		snprintf(line, FUZZ_LINE_MAX, "  %s: %s", leaf ? leaf + 1 : key->path, value);
		break;
	default:
		if (leaf)
			snprintf(line, FUZZ_LINE_MAX, "%.*s: { %s: %s }", (int)(leaf - key->path), key->path, leaf + 1,
				 value);
		else
			snprintf(line, FUZZ_LINE_MAX, "%s: %s", key->path, value);
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	return fuzz_mutate_lines(data, size, max_size, seed, make_line);
}
