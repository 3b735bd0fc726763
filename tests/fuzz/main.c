/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - the corpus as a test: each file once through the target, in any compiler's build
 *
 * usage: fuzz_NAME FOLDER|FILE...
 */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static int report_fd;
static uint32_t n_inputs;

static void run_file(const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat st;
	uint8_t *data;
	size_t n;

	if (!file || fstat(fileno(file), &st) != 0)
		fuzz_fail("%s: cannot read it", path);
	data = malloc((size_t)st.st_size + 1); /* of that very size: ASan sees a look past the end */
	n = data ? fread(data, 1, (size_t)st.st_size, file) : 0;
	fclose(file);
	dprintf(report_fd, "%s\n", path); /* the last one is the one that broke it */
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	n_inputs++;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void run(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_visible, alphasort);
	char below[4096];

	if (n < 0) {
		run_file(path);
		return;
	}
	for (int i = 0; i < n; i++) {
		snprintf(below, sizeof(below), "%s/%s", path, entries[i]->d_name);
		run_file(below);
		free(entries[i]);
	}
	free(entries);
}

/* What the code under test says on input that is wrong is of no use here. */
static void quiet(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	report_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
	if (__sanitizer_set_report_fd)
		__sanitizer_set_report_fd((void *)(uintptr_t)report_fd);
}

int main(int argc, char **argv)
{
	char **paths = calloc((size_t)argc + 1, sizeof(*paths));
	int n_paths = 0;

	/* a target may go to a folder of its own */
	for (int i = 1; paths && i < argc; i++)
		paths[n_paths++] = realpath(argv[i], NULL);
	LLVMFuzzerInitialize(&argc, &argv);
	quiet();
	for (int i = 0; i < n_paths; i++) {
		if (!paths[i])
			fuzz_fail("%s: is not there", argv[i + 1]);
		run(paths[i]);
		free(paths[i]);
	}
	free(paths);
	dprintf(report_fd, "%u inputs\n", n_inputs);
	return n_inputs ? 0 : 1;
}
