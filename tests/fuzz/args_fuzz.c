/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args_fuzz.c - the command line: argv of `chimaera` and each of its subcommands
 *
 * An input is text, a word a line, changed by a mutator that knows the commands' words. The commands' own code runs, from
 * run_command() on; where it would reach out (connect, read counters, start, load a module, make a folder) it is compiled to
 * call a function of this file, which looks at what it is asked for and fails (fuzz.cmake). argp_parse() does not exit.
 *
 * Held up: nothing crashes or leaks; what comes out of the parsers is within the limits that the help texts promise.
 */
#include "fuzz.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include <chimaera/chimaera.h>
#include <chimaera/counters.h>
#include <chimaera/runtime.h>

#include "../../tools/background.h"
#include "../../tools/patience.h"

#define WORDS_MAX 32u

int chimaera_main(int argc, char **argv);

/* ---- what the parsers allocate: a command that is refused leaves it to exit() ---- */

static void *kept[256];
static uint32_t n_kept;

static void *keep(uintptr_t former, void *memory)
{
	for (uint32_t i = 0; i < n_kept; i++)
		if (former && (uintptr_t)kept[i] == former)
			kept[i] = kept[--n_kept];
	if (memory && n_kept < sizeof(kept) / sizeof(kept[0]))
		kept[n_kept++] = memory;
	return memory;
}

static void free_kept(void)
{
	while (n_kept)
		free(kept[--n_kept]);
}

void *fuzz_realloc(void *memory, size_t size);
void fuzz_free(void *memory);
int fuzz_asprintf(char **ret_text, const char *format, ...) __attribute__((format(printf, 2, 3)));

void *fuzz_realloc(void *memory, size_t size)
{
	volatile uintptr_t former = (uintptr_t)memory; /* a number: gcc takes it for a use of what was freed */
	void *larger = realloc(memory, size);

	return larger ? keep(former, larger) : NULL;
}

void fuzz_free(void *memory)
{
	keep((uintptr_t)memory, NULL);
	free(memory);
}

int fuzz_asprintf(char **ret_text, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(ret_text, format, args);
	va_end(args);
	if (n >= 0)
		keep(0, *ret_text);
	return n;
}

/* ---- argp, which shall not exit ---- */

static bool refused;

error_t fuzz_argp_parse(const struct argp *argp, int argc, char **argv, unsigned int flags, int *end, void *input);
void fuzz_argp_error(const struct argp_state *state, const char *format, ...);
void fuzz_argp_failure(const struct argp_state *state, int status, int error, const char *format, ...);
void fuzz_argp_state_help(const struct argp_state *state, FILE *out, unsigned int flags);
void fuzz_argp_usage(const struct argp_state *state);

error_t fuzz_argp_parse(const struct argp *argp, int argc, char **argv, unsigned int flags, int *end, void *input)
{
	error_t error;

	fuzz_check(argc >= 1 && argv[argc] == NULL);
	refused = false;
	error = argp_parse(argp, argc, argv, flags | ARGP_NO_EXIT, end, input);
	return error || refused ? EINVAL : 0;
}

/* libc's would write the text and exit */
static void refuse(const char *format, va_list args)
{
	char text[4096];

	fuzz_check(vsnprintf(text, sizeof(text), format, args) > 0);
	refused = true;
}

void fuzz_argp_error(const struct argp_state *state, const char *format, ...)
{
	va_list args;

	(void)state;
	va_start(args, format);
	refuse(format, args);
	va_end(args);
}

void fuzz_argp_failure(const struct argp_state *state, int status, int error, const char *format, ...)
{
	va_list args;

	(void)state, (void)status, (void)error;
	va_start(args, format);
	refuse(format, args);
	va_end(args);
}

void fuzz_argp_state_help(const struct argp_state *state, FILE *out, unsigned int flags)
{
	(void)state, (void)out, (void)flags;
	refused = true;
}

/* where it is not inlined to the one before */
void fuzz_argp_usage(const struct argp_state *state)
{
	(void)state;
	refused = true;
}

/* ---- the world outside ---- */

int fuzz_chi_client_connect(const struct chi_client_opts *opts, struct chi_client **ret_client);
int fuzz_chi_counters_read(const char *name, struct chi_counters **ret_counters);
int fuzz_chi_runtime_config(const struct chi_runtime_opts *opts, chi_runtime_config_fn *fn, void *arg);
int fuzz_chi_module_describe(const char *path, chi_module_describe_fn *fn, void *arg);
int fuzz_mkdir(const char *path, mode_t mode);

/* patience.c */
void lose_patience_after(const char *name, uint64_t timeout_ms)
{
	fuzz_check(!name || strlen(name) < 4096);
	fuzz_check(timeout_ms >= 1 && timeout_ms <= TIMEOUT_MS_MAX);
}

void keep_patience(void)
{
}

int fuzz_chi_client_connect(const struct chi_client_opts *opts, struct chi_client **ret_client)
{
	(void)ret_client;
	fuzz_check(opts->size == sizeof(*opts));
	return -ENOENT;
}

int fuzz_chi_counters_read(const char *name, struct chi_counters **ret_counters)
{
	(void)name, (void)ret_counters;
	return -ENOENT;
}

/* background.c: a start ends here */
int go_to_background(void)
{
	return -1;
}

void report(int report_fd, int exit_code, const char *format, ...)
{
	(void)report_fd, (void)exit_code, (void)format;
}

bool redirect_output(const char *path)
{
	(void)path;
	return false;
}

static void check_settings(const struct chi_runtime_opts *opts)
{
	fuzz_check(opts->size == sizeof(*opts));
	for (const char *const *setting = opts->settings; setting && *setting; setting++)
		fuzz_check(strchr(*setting, '='));
}

int fuzz_chi_runtime_config(const struct chi_runtime_opts *opts, chi_runtime_config_fn *fn, void *arg)
{
	(void)fn, (void)arg;
	check_settings(opts);
	return -EINVAL;
}

int fuzz_chi_module_describe(const char *path, chi_module_describe_fn *fn, void *arg)
{
	(void)fn, (void)arg;
	fuzz_check(strlen(path) < 4096);
	return -ELIBBAD;
}

/* new-module: nothing but a plain name may get as far as here */
int fuzz_mkdir(const char *path, mode_t mode)
{
	(void)mode;
	fuzz_check(islower((unsigned char)*path) && strlen(path) < 64);
	for (const char *at = path; *at; at++)
		fuzz_check(islower((unsigned char)*at) || isdigit((unsigned char)*at) || *at == '_');
	errno = EEXIST;
	return -1;
}

/* ---- one input ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_init();
	fuzz_enter_folder();
	unsetenv("CHIMAERA_NAME");
	unsetenv("CHI_REPO_PATH");
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *words[WORDS_MAX + 2] = { NULL }, *at;
	char *text = malloc(size + 1);
	int argc = 0;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	words[argc++] = text + size; /* main() puts its own there */
	for (at = text; at < text + size && argc <= (int)WORDS_MAX; at += strlen(at) + 1) {
		at[strcspn(at, "\n")] = '\0';
		words[argc++] = at;
	}
	/* --foreground would serve until a signal comes; --HANG is libc's: every argp program sleeps for an hour then */
	for (int i = 1; i < argc; i++)
		if (strncmp(words[i], "--f", 3) == 0 || strncmp(words[i], "--H", 3) == 0)
			words[i] += strlen(words[i]);
	fuzz_check(chimaera_main(argc, words) >= 0);
	free_kept();
	free(text);
	return 0;
}

/* ---- words that mean something ---- */

static void make_line(uint64_t *random, char line[FUZZ_LINE_MAX])
{
	static const char *const words[] = {
		"start",
		"stop",
		"status",
		"config",
		"pool",
		"module",
		"new-module",
		"create",
		"list",
		"destroy",
		"check",
		"help",
		"--help",
		"-h",
		"-?",
		"--version",
		"-V",
		"--usage",
		"--",
		"-",
		"--name",
		"-n",
		"--json",
		"-j",
		"--set",
		"-s",
		"--config",
		"-c",
		"--log",
		"-l",
		"--keys",
		"-k",
		"--watch",
		"-w",
		"--timeout",
		"-t",
		"--containers",
		"-C",
		"--params",
		"-p",
		"--open",
		"-o",
		"runtime",
		"workers",
		"pools",
		"methods",
		"clients",
		"lanes",
		"blob",
		"a_module9",
		"admin",
		"workers.count=4",
		"=",
		"a=",
		"0.1",
		"86400",
		"nan",
		"inf",
		"1e5",
		"0",
		"1",
		"1024",
		"1025",
		"86400000",
		"86400001",
		"18446744073709551616",
		"-1",
		"+1",
		" 1",
		"0x1p3",
		"x.so",
		"../a",
	};
	static const char *const joined[] = { "--timeout", "--watch", "--name", "--set", "--containers", "--log",
					      "--params",  "-t",      "-w",	"-s",	 "-C",		 "-n" };
	uint32_t n = sizeof(words) / sizeof(words[0]);

	if (fuzz_random(random, 3) == 0) {
		const char *option = joined[fuzz_random(random, sizeof(joined) / sizeof(joined[0]))];

		snprintf(line, FUZZ_LINE_MAX, "%s%s%s", option, option[1] == '-' ? "=" : "",
			 words[fuzz_random(random, n)]);
		return;
	}
	snprintf(line, FUZZ_LINE_MAX, "%s", words[fuzz_random(random, n)]);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	return fuzz_mutate_lines(data, size, max_size, seed, make_line);
}
