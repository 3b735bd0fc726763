/* SPDX-License-Identifier: BSD-3-Clause */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/log.h"
#include "runtime/module_manager.h"

static char folder[512];
static struct chi_module_manager *manager;

static int set_up(void **state)
{
	const char *build = getenv("CHI_TEST_BUILD_DIR");

	(void)state;
	snprintf(folder, sizeof(folder), "%s/tests/modules", build ? build : ".");
	setenv("CHI_REPO_PATH", folder, 1);
	return chi_module_manager_create(&manager);
}

static int tear_down(void **state)
{
	(void)state;
	chi_module_manager_destroy(manager);
	return 0;
}

static void path_of(const char *name, char path[1024])
{
	snprintf(path, 1024, "%s/chimaera_%s.so", folder, name);
}

static void refused(const char *name, int error, const char *why)
{
	const struct chi_loaded_module *module = NULL;
	int ret = chi_module_get(manager, name, &module);

	if (ret != error || !strstr(chi_error_text(), why))
		fail_msg("'%s': %d: %s", name, ret, chi_error_text());
	assert_null(module);
}

/* ---- loading ---- */

static void a_module_is_loaded_once_and_unloaded_with_its_last_use(void **state)
{
	const struct chi_loaded_module *first, *second;
	char path[1024];
	void *still;

	(void)state;
	path_of("create_fails", path);
	assert_int_equal(chi_module_get(manager, "create_fails", &first), 0);
	assert_int_equal(chi_module_get(manager, "create_fails", &second), 0);
	assert_ptr_equal(first, second);
	assert_string_equal(first->methods[0]->name, "alive");
	assert_null(first->methods[1]);
	chi_module_put(manager, first);
	still = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
	assert_non_null(still);
	dlclose(still);
	chi_module_put(manager, second);
	assert_null(dlopen(path, RTLD_NOW | RTLD_NOLOAD));
}

static void names_that_leave_the_folder_are_refused(void **state)
{
	(void)state;
	refused("", -EINVAL, "no name of a module");
	refused("../x", -EINVAL, "no name of a module");
	refused("A", -EINVAL, "no name of a module");
	refused("a123456789012345678901234567890123456789012345678901234567890123", -EINVAL, "no name of a module");
}

static void a_missing_module_lists_the_folders(void **state)
{
	(void)state;
	refused("nowhere", -ENOENT, "chimaera_nowhere.so");
	refused("nowhere", -ENOENT, folder);
}

static void another_abi_is_refused_before_anything_runs(void **state)
{
	(void)state;
	refused("bad_abi", -ELIBBAD, "built for module ABI 9999, this runtime has 1");
}

static void a_file_without_the_note_is_refused_before_anything_runs(void **state)
{
	(void)state;
	refused("bad_no_note", -ELIBBAD, "no note .note.chimaera");
}

static void copy_first_bytes(const char *from, const char *to, uint64_t n_bytes)
{
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(in >= 0 && out >= 0);
	while (n_bytes > 0) {
		char bytes[4096];
		ssize_t n = read(in, bytes, n_bytes < sizeof(bytes) ? n_bytes : sizeof(bytes));

		assert_true(n > 0);
		assert_int_equal(write(out, bytes, (size_t)n), n);
		n_bytes -= (uint64_t)n;
	}
	close(in);
	close(out);
}

static void a_file_cut_short_is_refused_and_harms_nobody(void **state)
{
	char whole[1024], cut[1024], cut_folder[] = "/tmp/chi-cut-XXXXXX";
	struct stat st;

	(void)state;
	path_of("create_fails", whole);
	assert_int_equal(stat(whole, &st), 0);
	assert_non_null(mkdtemp(cut_folder));
	snprintf(cut, sizeof(cut), "%s/chimaera_cut.so", cut_folder);
	setenv("CHI_REPO_PATH", cut_folder, 1);
	/* what comes behind the last loaded part may be missing: sections only a debugger reads */
	for (uint64_t part = 0; part < 64; part++) {
		const struct chi_loaded_module *module;
		int ret;

		copy_first_bytes(whole, cut, (uint64_t)st.st_size * part / 64);
		ret = chi_module_get(manager, "cut", &module);
		if (ret == 0)
			chi_module_put(manager, module);
		else
			assert_int_equal(ret, -ELIBBAD);
		if (part <= 8)
			assert_int_equal(ret, -ELIBBAD);
	}
	unlink(cut);
	rmdir(cut_folder);
	setenv("CHI_REPO_PATH", folder, 1);
}

static void an_undefined_symbol_is_named(void **state)
{
	(void)state;
	refused("bad_undefined", -ELIBBAD, "chi_test_nobody_has_this");
}

static void a_hidden_table_is_refused(void **state)
{
	(void)state;
	refused("bad_no_symbol", -ELIBBAD, "it has no chi_module_table");
}

static void a_wrong_table_is_refused_and_unloaded(void **state)
{
	char path[1024];

	(void)state;
	path_of("bad_table", path);
	refused("bad_table", -ELIBBAD, "methods 'first' and 'second' have the same id 3");
	assert_null(dlopen(path, RTLD_NOW | RTLD_NOLOAD));
}

static void a_refusal_is_logged_once(void **state)
{
	char text[2048];
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	refused("bad_table", -ELIBBAD, "same id");
	dup2(saved, STDERR_FILENO);
	n = read(fds[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = 0;
	assert_non_null(strstr(text, "module 'bad_table' refused: "));
	assert_non_null(strstr(text, "chimaera_bad_table.so"));
	assert_ptr_equal(strchr(text, '\n'), text + n - 1);
	close(saved);
	close(fds[0]);
	close(fds[1]);
}

/* ---- tables ---- */

static int run(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	return 0;
}

static struct chi_method methods[3];
static struct chi_module table;

static void good_table(void)
{
	for (uint32_t i = 0; i < 3; i++) {
		static const char *const names[] = { "one", "two", "three" };

		methods[i] = (struct chi_method){ .name = names[i], .id = i * 100, .task_size = 256, .run = run };
	}
	methods[1].buffers_offset = 128;
	methods[1].n_buffers = 2;
	methods[1].out_offset = 176;
	methods[1].out_size = 80;
	table = (struct chi_module){ .size = sizeof(table),
				     .method_stride = sizeof(methods[0]),
				     .name = "inside",
				     .n_methods = 3,
				     .methods = methods };
}

static void table_refused(const char *why)
{
	int error = chi_module_register_builtin(manager, &table);

	if (error != -ELIBBAD || !strstr(chi_error_text(), why))
		fail_msg("not '%s' but %d: %s", why, error, chi_error_text());
	good_table();
}

static void each_fault_of_a_table_is_named(void **state)
{
	(void)state;
	good_table();
	table.size = 8;
	table_refused("a table of 8 bytes");
	table.size = 1u << 30;
	table_refused("a table of 1073741824 bytes");
	table.method_stride = 16;
	table_refused("method entries of 16 bytes");
	table.method_stride = sizeof(methods[0]) + 4;
	table_refused("method entries of");
	table.methods = NULL;
	table_refused("3 methods (allowed 1..256)");
	table.n_methods = 0;
	table_refused("0 methods");
	table.n_methods = 257;
	table_refused("257 methods");
	methods[2].name = NULL;
	table_refused("method entry 2 has no proper name");
	methods[2].name = "one";
	table_refused("two methods are called 'one'");
	methods[2].id = 100;
	table_refused("methods 'two' and 'three' have the same id 100");
	methods[2].id = CHI_METHODS_MAX;
	table_refused("its id is too large");
	methods[0].task_size = 120;
	table_refused("its task size is not allowed");
	methods[0].task_size = CHI_TASK_SIZE_MAX + 8;
	table_refused("its task size is not allowed");
	methods[0].task_size = 132;
	table_refused("its task size is not allowed");
	methods[0].run = NULL;
	table_refused("it has no function");
	methods[1].n_buffers = CHI_TASK_BUFFERS_MAX + 1;
	table_refused("too many buffers");
	methods[1].n_buffers = 6;
	table_refused("its buffers are not inside its task");
	methods[1].buffers_offset = 120;
	table_refused("its buffers are not inside its task");
	methods[1].buffers_offset = UINT32_MAX - 7;
	table_refused("its buffers are not inside its task");
	methods[1].buffers_offset = 132;
	table_refused("its buffers are not inside its task");
	methods[1].out_offset = 64;
	table_refused("its outputs are not inside its task");
	methods[1].out_size = 81;
	table_refused("its outputs are not inside its task");
	methods[1].out_size = UINT32_MAX;
	table_refused("its outputs are not inside its task");
}

static void a_module_with_its_own_run_needs_no_functions(void **state)
{
	const struct chi_loaded_module *module;

	(void)state;
	good_table();
	table.run = run;
	methods[0].run = methods[1].run = methods[2].run = NULL;
	assert_int_equal(chi_module_register_builtin(manager, &table), 0);
	assert_int_equal(chi_module_get(manager, "inside", &module), 0);
	assert_string_equal(module->methods[200]->name, "three");
	chi_module_put(manager, module);
}

static void methods_are_read_by_the_modules_own_stride(void **state)
{
	struct {
		struct chi_method method;
		uint64_t newer_field[3];
	} longer[3];
	const struct chi_loaded_module *module;

	(void)state;
	good_table();
	memset(longer, 0xff, sizeof(longer));
	for (int i = 0; i < 3; i++)
		longer[i].method = methods[i];
	table.methods = &longer[0].method;
	table.method_stride = sizeof(longer[0]);
	assert_int_equal(chi_module_register_builtin(manager, &table), 0);
	assert_int_equal(chi_module_get(manager, "inside", &module), 0);
	assert_string_equal(module->methods[100]->name, "two");
	assert_int_equal(module->methods[100]->out_size, 80);
	assert_string_equal(module->methods[200]->name, "three");
}

/* ---- files that want to do harm ---- */

static void write_file(const char *path, const void *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	close(fd);
}

static void what_is_no_file_is_refused(void **state)
{
	char path[] = "/tmp/chi-module-XXXXXX";
	uint32_t version;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(chi_module_check_file(path, &version), -ELIBBAD); /* empty */
	write_file(path, "\177ELF", 4);
	assert_int_equal(chi_module_check_file(path, &version), -ELIBBAD);
	write_file(path, "!<arch>\n", 8);
	assert_int_equal(chi_module_check_file(path, &version), -ELIBBAD);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(chi_module_check_file(path, &version), -ELIBBAD);
	unlink(path);
	assert_int_equal(chi_module_check_file(path, &version), -ENOENT);
	assert_int_equal(chi_module_check_file("/tmp", &version), -ELIBBAD);
	assert_int_equal(chi_module_check_file("/proc/self/exe", &version), -ELIBBAD);
}

static size_t read_module(const char *name, unsigned char **ret_bytes)
{
	char path[1024];
	struct stat st;
	int fd;

	path_of(name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	*ret_bytes = malloc((size_t)st.st_size);
	assert_non_null(*ret_bytes);
	assert_int_equal(read(fd, *ret_bytes, (size_t)st.st_size), st.st_size);
	close(fd);
	return (size_t)st.st_size;
}

static void the_note_is_found_without_sections(void **state)
{
	char path[] = "/tmp/chi-module-XXXXXX";
	unsigned char *bytes;
	size_t size = read_module("create_fails", &bytes);
	Elf64_Ehdr header;
	uint32_t version = 0;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	memcpy(&header, bytes, sizeof(header));
	header.e_shoff = 0;
	header.e_shnum = 0;
	header.e_shstrndx = 0;
	memcpy(bytes, &header, sizeof(header));
	write_file(path, bytes, size);
	assert_int_equal(chi_module_check_file(path, &version), 0);
	assert_int_equal(version, CHI_ABI_VERSION);
	unlink(path);
	free(bytes);
}

/* Mostly headers are hit: the ELF header, the program headers, the notes, the section headers at the end. */
static void mutated_files_never_crash_the_reader(void **state)
{
	static const unsigned char edges[] = { 0x00, 0xff, 0x7f, 0x80, 0x01, 0xfe };
	char path[] = "/tmp/chi-module-XXXXXX";
	unsigned char *bytes, *mutant;
	size_t size = read_module("create_fails", &bytes);
	Elf64_Ehdr header;
	uint64_t seed = 20240607;
	int accepted = 0, refused_n = 0, fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	mutant = malloc(size);
	assert_non_null(mutant);
	memcpy(&header, bytes, sizeof(header));
	for (int i = 0; i < 3000; i++) {
		size_t cut = size;
		uint32_t version;

		memcpy(mutant, bytes, size);
		for (int k = 0; k < 1 + i % 4; k++) {
			size_t place;

			seed = seed * 6364136223846793005u + 1442695040888963407u;
			place = (size_t)(seed >> 33);
			if (i % 3 == 0)
				place %= 1024;
			else if (i % 3 == 1)
				place = header.e_shoff + place % (size - header.e_shoff);
			else
				place %= size;
			mutant[place] = edges[(seed >> 20) % sizeof(edges)];
		}
		if (i % 10 == 9)
			cut = (size_t)(seed >> 33) % size;
		write_file(path, mutant, cut);
		if (chi_module_check_file(path, &version) == 0)
			accepted++;
		else
			refused_n++;
	}
	unlink(path);
	free(mutant);
	free(bytes);
	/* both happen: the mutations reach what is read, and do not always */
	if (accepted < 50 || refused_n < 50)
		fail_msg("%d accepted, %d refused", accepted, refused_n);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(a_module_is_loaded_once_and_unloaded_with_its_last_use),
		CASE(names_that_leave_the_folder_are_refused),
		CASE(a_missing_module_lists_the_folders),
		CASE(another_abi_is_refused_before_anything_runs),
		CASE(a_file_without_the_note_is_refused_before_anything_runs),
		CASE(a_file_cut_short_is_refused_and_harms_nobody),
		CASE(an_undefined_symbol_is_named),
		CASE(a_hidden_table_is_refused),
		CASE(a_wrong_table_is_refused_and_unloaded),
		CASE(a_refusal_is_logged_once),
		CASE(each_fault_of_a_table_is_named),
		CASE(a_module_with_its_own_run_needs_no_functions),
		CASE(methods_are_read_by_the_modules_own_stride),
		CASE(what_is_no_file_is_refused),
		CASE(the_note_is_found_without_sections),
		CASE(mutated_files_never_crash_the_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
