/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_docs_test.c - what the documents say of the keys is what the table of config_table.c says
 *
 * `build/dev/tests/bin/runtime_config_docs --write`, at the tree's root, makes them so: docs/chimaera.yaml as a whole, and the
 * lines between two marks in docs/configuration.md and docs/man/chimaera.yaml.5.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <chimaera/task.h>

#include "runtime/config_internal.h"

struct about {
	char *def;	     /* its default, as YAML */
	const char *allowed; /* without the word */
	char allowed_text[CHI_CONFIG_ALLOWED_MAX];
	char variable[CHI_CONFIG_VARIABLE_MAX];
};

static struct about about_key(const struct chi_config_key *key)
{
	struct chi_config defaults;
	struct about about = { 0 };
	size_t size;
	FILE *out = open_memstream(&about.def, &size);

	chi_config_defaults(&defaults);
	chi_config_write_value(out, &defaults, key);
	fclose(out);
	chi_config_describe_allowed(key, about.allowed_text);
	chi_config_variable(key, about.variable);
	return about;
}

static const char *allowed_of(const struct about *about)
{
	const char *text = about->allowed_text + strlen("allowed");

	return text + strspn(text, ": ");
}

static void write_yaml(FILE *out)
{
	size_t group_size = 0;

	fprintf(out, "# Every key of the configuration, with its default.\n");
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		const struct chi_config_key *key = &chi_config_keys[i];
		const char *leaf = strchr(key->path, '.');
		struct about about = about_key(key);

		if (leaf && (!group_size || strncmp(key->path, key[-1].path, group_size + 1) != 0)) {
			group_size = (size_t)(leaf - key->path);
			fprintf(out, "\n%.*s:\n", (int)group_size, key->path);
		}
		fprintf(out, "%s%s: %s # %s%s%s (%s)\n", leaf ? "  " : "", leaf ? leaf + 1 : key->path, about.def,
			key->unit, *key->unit ? "; " : "", key->help, about.allowed_text);
		free(about.def);
	}
}

static void write_markdown(FILE *out)
{
	fprintf(out, "| Key | Default | Unit | Allowed | Live | Meaning |\n|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		const struct chi_config_key *key = &chi_config_keys[i];
		struct about about = about_key(key);

		fprintf(out, "| `%s` | `%s` | %s | %s | %s | %s |\n", key->path, about.def, key->unit,
			allowed_of(&about), key->live ? "yes" : "", key->help);
		free(about.def);
	}
}

/* A text of ours as a line of mdoc. */
static void write_mdoc_text(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-' && text[1] >= '0' && text[1] <= '9')
			fputs("\\-", out);
		else
			fputc(*text, out);
	}
}

static void write_mdoc(FILE *out)
{
	fprintf(out, ".Bl -tag -width Ds\n");
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		const struct chi_config_key *key = &chi_config_keys[i];
		struct about about = about_key(key);

		fprintf(out, ".It Cm %s\n", key->path);
		fputc(toupper((unsigned char)key->help[0]), out);
		write_mdoc_text(out, key->help + 1);
		fprintf(out, ".\n");
		if (*key->unit)
			fprintf(out, "Unit: %s.\n", key->unit);
		fprintf(out, "Default:\n.Ql ");
		write_mdoc_text(out, about.def);
		fprintf(out, " .\nAllowed: ");
		write_mdoc_text(out, allowed_of(&about));
		fprintf(out, ".\n%s", key->live ? "A daemon takes a change at SIGHUP.\n" : "");
		free(about.def);
	}
	fprintf(out, ".El\n");
}

static const struct document {
	const char *path;
	void (*write)(FILE *out);
	const char *begin, *end; /* NULL: the whole file */
} documents[] = {
	{ "docs/chimaera.yaml", write_yaml, NULL, NULL },
	{ "docs/configuration.md", write_markdown, "<!-- keys -->\n", "<!-- end of keys -->\n" },
	{ "docs/man/chimaera.yaml.5", write_mdoc, ".\\\" keys\n", ".\\\" end of keys\n" },
};
#define N_DOCUMENTS (sizeof(documents) / sizeof(documents[0]))

static char *read_all(const char *path)
{
	FILE *in = fopen(path, "r"), *out;
	char *text = NULL;
	size_t size = 0;
	int c;

	if (!in)
		fail_msg("%s cannot be read", path);
	out = open_memstream(&text, &size);
	while ((c = getc(in)) != EOF)
		putc(c, out);
	fclose(in);
	fclose(out);
	return text;
}

/* The document as it should be, made from what it is. */
static char *wanted(const struct document *document, const char *found)
{
	const char *begin = document->begin ? strstr(found, document->begin) : found;
	const char *end = begin && document->end ? strstr(begin, document->end) : NULL;
	char *text = NULL;
	size_t size = 0;
	FILE *out;

	if (document->begin && !end)
		fail_msg("%s: its marks are gone", document->path);
	out = open_memstream(&text, &size);
	if (document->begin)
		fprintf(out, "%.*s%s", (int)(begin - found), found, document->begin);
	document->write(out);
	if (end)
		fputs(end, out);
	fclose(out);
	return text;
}

static void the_documents_are_the_table(void **state)
{
	const char *root = getenv("CHI_TEST_SOURCE_DIR");

	(void)state;
	for (size_t i = 0; i < N_DOCUMENTS; i++) {
		char path[512];
		char *found, *text;

		snprintf(path, sizeof(path), "%s/%s", root ? root : ".", documents[i].path);
		found = read_all(path);
		text = wanted(&documents[i], found);
		if (strcmp(found, text) != 0)
			print_error("%s: run runtime_config_docs --write\n", documents[i].path);
		assert_string_equal(found, text);
		free(found);
		free(text);
	}
}

static void the_yaml_says_the_defaults(void **state)
{
	struct chi_config defaults, config;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	write_yaml(out);
	fclose(out);
	chi_config_defaults(&defaults);
	if (chi_config_load(&(struct chi_config_layers){ .text = text }, &config, NULL))
		fail_msg("%s in\n%s", chi_error_text(), text);
	chi_config_free(&config);
	assert_memory_equal(&defaults, &config, sizeof(config));
	free(text);
}

static int write_documents(void)
{
	for (size_t i = 0; i < N_DOCUMENTS; i++) {
		char *found = read_all(documents[i].path), *text = wanted(&documents[i], found);
		FILE *out = fopen(documents[i].path, "w");

		if (!out || fputs(text, out) < 0 || fclose(out)) {
			perror(documents[i].path);
			return 1;
		}
		free(found);
		free(text);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_documents_are_the_table),
		cmocka_unit_test(the_yaml_says_the_defaults),
	};

	if (argc == 2 && strcmp(argv[1], "--write") == 0)
		return write_documents();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
