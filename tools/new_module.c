/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * new_module.c - chimaera new-module: a folder with a module that builds and passes its test
 *
 * The files come from tools/templates, which are inside the command. In their names NAME, and in their text @name@,
 * @NAME@ and @hash@, stand for the module's name, the same in capitals, and a first interface hash.
 */
#include "chimaera.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chimaera/admin.h>

#include "options.h"
#include "output.h"

#define PATH_BYTES (2 * CHI_NAME_MAX + 64)

static const struct template
{
	const char *file;
	const char *text;
}
templates[] = {
#include "templates.inc"
};
#define N_TEMPLATES (sizeof(templates) / sizeof(templates[0]))

/* Modules that come along, prefixes of our own headers, targets that CMake keeps for itself. */
static const char *const taken[] = {
	"admin",   "blob",    "compress",	"chi",	      "chimaera",      "hipc",
	"hshm",	   "all",     "clean",		"depend",     "edit_cache",    "help",
	"install", "package", "package_source", "preinstall", "rebuild_cache", "test",
};

/* ---- names ---- */

static bool is_identifier(const char *name)
{
	if (!islower((unsigned char)*name))
		return false;
	for (const char *at = name; *at; at++)
		if (!islower((unsigned char)*at) && !isdigit((unsigned char)*at) && *at != '_')
			return false;
	return true;
}

/* Why it cannot be a module's name; NULL: it can. */
static const char *objection(const char *name)
{
	if (strlen(name) > CHI_NAME_MAX - 1)
		return "it has more than 63 characters";
	if (!is_identifier(name))
		return "it has to be lower-case letters, digits and _, a letter first";
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (strcmp(name, taken[i]) == 0)
			return "that name is taken";
	return NULL;
}

/* FNV-1a: any number will do that two modules hardly share. */
static uint64_t hash_of(const char *name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return hash;
}

/* ---- files ---- */

static void put_capitals(const char *name, FILE *out)
{
	for (; *name; name++)
		putc(toupper((unsigned char)*name), out);
}

static void fill_in(const char *text, const char *name, FILE *out)
{
	while (*text) {
		if (strncmp(text, "@name@", 6) == 0) {
			fputs(name, out);
			text += 6;
		} else if (strncmp(text, "@NAME@", 6) == 0) {
			put_capitals(name, out);
			text += 6;
		} else if (strncmp(text, "@hash@", 6) == 0) {
			fprintf(out, "%016llx", (unsigned long long)hash_of(name));
			text += 6;
		} else {
			putc(*text++, out);
		}
	}
}

static void path_of(const struct template *template, const char *name, char path[PATH_BYTES])
{
	const char *place = strstr(template->file, "NAME");

	if (place)
		snprintf(path, PATH_BYTES, "%s/%.*s%s%s", name, (int)(place - template->file), template->file, name,
			 place + strlen("NAME"));
	else
		snprintf(path, PATH_BYTES, "%s/%s", name, template->file);
}

static int write_file(const struct template *template, const char *name)
{
	char path[PATH_BYTES];
	FILE *out;
	int error;

	path_of(template, name, path);
	out = fopen(path, "wx");
	if (!out)
		return errno;
	fill_in(template->text, name, out);
	error = ferror(out) ? EIO : 0;
	if (fclose(out) != 0 && !error)
		error = errno;
	return error;
}

/* The folder is ours: what stands in it is what we wrote. */
static void take_back(const char *name)
{
	for (size_t i = 0; i < N_TEMPLATES; i++) {
		char path[PATH_BYTES];

		path_of(&templates[i], name, path);
		unlink(path);
	}
	rmdir(name);
}

static int write_module(const char *name)
{
	int error = 0;

	if (mkdir(name, 0777) != 0) {
		fprintf(stderr, "chimaera: cannot make the folder '%s': %s; nothing was written\n", name,
			strerror(errno));
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < N_TEMPLATES && !error; i++)
		error = write_file(&templates[i], name);
	if (error) {
		take_back(name);
		fprintf(stderr, "chimaera: cannot write into '%s': %s; the folder was removed again\n", name,
			strerror(error));
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

/* ---- the command ---- */

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	const char **name = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (*name)
			argp_error(state, "unexpected argument '%s': one module at a time", value);
		*name = value;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "what is the module called?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.parser = parse_option,
	.args_doc = "NAME",
	.doc = "Write a module called NAME into a new folder of that name: two methods, one of which waits for the "
	       "other, the header for its users, a test, and what builds them.\v"
	       "NAME goes into file names and identifiers: lower-case letters, digits and _, a letter first.\n\n"
	       "Exit codes: 0 written, 1 failed, and nothing is left of it, 2 wrong usage.",
};

int command_new_module(int argc, char **argv)
{
	const char *name = NULL, *reason;
	int error = parse_arguments(&argp, argc, argv, &name);

	if (error)
		return error;
	reason = objection(name);
	if (reason) {
		fprintf(stderr, "chimaera: '%s' cannot be a module's name: %s\n", name, reason);
		return EXIT_USAGE;
	}
	error = write_module(name);
	if (error)
		return error;
	printf("chimaera: wrote %s/:", name);
	for (size_t i = 0; i < N_TEMPLATES; i++) {
		char path[PATH_BYTES];

		path_of(&templates[i], name, path);
		printf(" %s", path + strlen(name) + 1);
	}
	printf("\nBuild and test it:\n"
	       "  cd %s\n"
	       "  cmake -S . -B build && cmake --build build && ctest --test-dir build --output-on-failure\n"
	       "Load it into a runtime:\n"
	       "  CHI_REPO_PATH=$PWD/build chimaera start\n"
	       "  chimaera pool create %s\n",
	       name, name);
	return end_output();
}
