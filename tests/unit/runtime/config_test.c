/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
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

#include <chimaera/module.h>
#include <chimaera/task.h>

#include "runtime/config.h"

static struct chi_config config;

static int load(const char *text)
{
	return chi_config_load_text(text, "t.yaml", &config);
}

/* the text is refused, with exactly this to say; and the configuration is as it was */
static void refused(const char *text, const char *why)
{
	struct chi_config before;
	int error;

	memset(&config, 0x5a, sizeof(config));
	before = config;
	error = load(text);
	if (error != -EINVAL || strcmp(chi_error_text(), why) != 0)
		fail_msg("\n%s\ngave %d: %s\nnot:      %s", text, error, chi_error_text(), why);
	assert_memory_equal(&before, &config, sizeof(config));
}

static void empty_files_are_all_defaults(void **state)
{
	static const char *const texts[] = { "",   "\n", "# only a comment\n", "---\n",
					     "{}", "~",	 "workers:\n",	       "workers: null" };
	struct chi_config defaults;

	(void)state;
	chi_config_defaults(&defaults);
	assert_string_equal(defaults.name, "default");
	assert_int_equal(defaults.lane_batch, 64);
	assert_int_equal(defaults.spin_ns, 50000);
	assert_int_equal(defaults.stack_bytes, 65536);
	assert_int_equal(defaults.client_bytes, UINT64_C(4) << 30);
	assert_int_equal(defaults.log_level, CHI_LOG_INFO);
	assert_true(defaults.completion_posting && defaults.run_in_place);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		memset(&config, 0x5a, sizeof(config));
		if (load(texts[i]))
			fail_msg("'%s': %s", texts[i], chi_error_text());
		assert_memory_equal(&defaults, &config, sizeof(config));
	}
}

static void each_kind_of_value_is_read(void **state)
{
	(void)state;
	assert_int_equal(load("name: node-7\n"
			      "group: \"hpc\"\n"
			      "log_level: debug\n"
			      "stop_timeout_ms: 250\n"
			      "workers: { count: 6, high_latency: 2, spin_us: 7, completion_posting: false }\n"
			      "fibers:\n"
			      "  guard: mprotect\n"
			      "  stack_kib: 128\n"
			      "clients:\n"
			      "  memory_mib: 64\n"
			      "  lane_depth: 4096\n"),
			 0);
	assert_string_equal(config.name, "node-7");
	assert_string_equal(config.group, "hpc");
	assert_int_equal(config.log_level, CHI_LOG_DEBUG);
	assert_int_equal(config.stop_timeout_ns, 250000000);
	assert_int_equal(config.n_workers, 6);
	assert_int_equal(config.n_high_latency, 2);
	assert_int_equal(config.spin_ns, 7000);
	assert_false(config.completion_posting);
	assert_true(config.run_in_place);
	assert_int_equal(config.fiber_guard, CHI_FIBER_GUARD_MPROTECT);
	assert_int_equal(config.stack_bytes, 128 * 1024);
	assert_int_equal(config.client_bytes, 64 << 20);
	assert_int_equal(config.client_lane_depth, 4096);
}

static void bad_values_name_line_key_and_what_is_allowed(void **state)
{
	(void)state;
	refused("workers:\n  count: 0x\n", "t.yaml:2:10: key 'workers.count': 0x is no number (allowed 0..64)");
	refused("workers:\n  count: -1\n", "t.yaml:2:10: key 'workers.count': -1 is no number (allowed 0..64)");
	refused("workers:\n  count:\n", "t.yaml:2:3: key 'workers.count': nothing is no number (allowed 0..64)");
	refused("workers: {count: 65}", "t.yaml:1:18: key 'workers.count': 65 is out of range (allowed 0..64)");
	refused("workers: {count: 99999999999999999999999}",
		"t.yaml:1:18: key 'workers.count': 99999999999999999999999 is out of range (allowed 0..64)");
	refused("workers: {count: [1]}", "t.yaml:1:11: key 'workers.count': a number is wanted (allowed 0..64)");
	refused("workers: {active_depth: 1000}",
		"t.yaml:1:25: key 'workers.active_depth': 1000 is no power of two (allowed: powers of two in 2..1048576)");
	refused("workers: {run_in_place: yes}",
		"t.yaml:1:25: key 'workers.run_in_place': 'yes' is not known (allowed: false, true)");
	refused("log_level: loud",
		"t.yaml:1:12: key 'log_level': 'loud' is not known (allowed: error, warn, info, debug)");
	refused("name: a/b",
		"t.yaml:1:7: key 'name': 'a/b' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused("name: ..", "t.yaml:1:7: key 'name': '..' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused("name: \"\"", "t.yaml:1:8: key 'name': '' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused("name: \"a\\e[1m\"",
		"t.yaml:1:8: key 'name': 'a?[1m' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused("name: {a: 1}",
		"t.yaml:1:1: key 'name': one value is wanted (allowed: at most 63 letters, digits and . _ -)");
	refused("workers: 3", "t.yaml:1:1: key 'workers': keys below it are wanted, like 'workers.count'");
	refused("name: *other",
		"t.yaml:1:8: key 'name': one value is wanted (allowed: at most 63 letters, digits and . _ -)");
}

static void a_cpu_we_may_not_use_is_refused(void **state)
{
	(void)state;
	refused("workers: {cpus: 3}", "t.yaml:1:11: key 'workers.cpus': a list of CPUs is wanted, like [0, 1]");
	refused("workers: {cpus: [x]}", "t.yaml:1:18: key 'workers.cpus': x is no number (allowed 0..1023)");
	refused("workers: {cpus: [1023]}", "t.yaml:1:18: key 'workers.cpus': this process may not run on CPU 1023");
}

static void unknown_keys_suggest_the_nearest(void **state)
{
	(void)state;
	refused("workers:\n  cuont: 3\n",
		"t.yaml:2:3: key 'workers.cuont': there is no such key; is 'workers.count' meant?");
	refused("spin_us: 3", "t.yaml:1:1: key 'spin_us': there is no such key; is 'workers.spin_us' meant?");
	refused("worker: {count: 3}", "t.yaml:1:1: key 'worker': there is no such key");
	refused("elephants: 3", "t.yaml:1:1: key 'elephants': there is no such key");
	refused("? [a]\n: 3\n", "t.yaml:1:1: a key must be a plain word");
}

static void duplicate_keys_are_refused(void **state)
{
	(void)state;
	refused("name: a\nname: b\n", "t.yaml:2:1: key 'name': stands here a second time (first in line 1)");
	refused("workers: {count: 1}\nfibers: {max: 3}\nworkers: {count: 2}\n",
		"t.yaml:3:1: key 'workers': stands here a second time");
	refused("workers: {count: 1,\n count: 2}\n",
		"t.yaml:2:2: key 'workers.count': stands here a second time (first in line 1)");
}

static void syntax_errors_have_a_position(void **state)
{
	(void)state;
	refused("name: a: b", "t.yaml:1:8: invalid nested block mapping on the same line");
	refused("name: x\nworkers: [1, 2\n", "t.yaml:3:1: flow sequence without a closing bracket");
	refused("name: x\n\tgroup: y\n", "t.yaml:1:7: invalid multiline plain key");
	refused("a plain word", "t.yaml:1:1: keys and values are wanted, like 'workers: { count: 4 }'");
	refused("name: x\n---\nname: y\n", "t.yaml: more than one document");
}

static void keys_that_contradict_each_other_are_refused(void **state)
{
	(void)state;
	refused("workers:\n  high_latency: 2\n  count: 2\n",
		"t.yaml:2:3: key 'workers.high_latency': 2 of 2 workers: at least one must be left for low-latency lanes");
	refused("fibers:\n  stack_kib: 17\n",
		"t.yaml:2:3: key 'fibers.stack_kib': 17 KiB are no multiple of the page, 4 KiB");
	refused("clients:\n  memory_mib: 8\n  lanes: 1024\n",
		"t.yaml:2:3: key 'clients.memory_mib': 8 MiB are too small for 1024 lanes of 1024 slots");
}

static void files_are_read_and_their_absence_told(void **state)
{
	char path[] = "/tmp/chi-config-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "workers:\n  count: 3\n", 20), 20);
	assert_int_equal(chi_config_load_file(path, &config), 0);
	assert_int_equal(config.n_workers, 3);
	assert_int_equal(write(fd, "\0", 1), 1);
	assert_int_equal(chi_config_load_file(path, &config), -EINVAL);
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	assert_int_equal(chi_config_load_file(path, &config), -EFBIG);
	close(fd);
	unlink(path);
	assert_int_equal(chi_config_load_file(path, &config), -ENOENT);
	assert_non_null(strstr(chi_error_text(), path));
	assert_int_equal(chi_config_load_file("/tmp", &config), -EISDIR);
}

static char *keys_as_text(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	chi_config_write_keys(out);
	fclose(out);
	return text;
}

static void the_written_keys_are_the_defaults(void **state)
{
	struct chi_config defaults;
	char *text = keys_as_text();

	(void)state;
	chi_config_defaults(&defaults);
	memset(&config, 0x5a, sizeof(config));
	if (load(text))
		fail_msg("%s in\n%s", chi_error_text(), text);
	assert_memory_equal(&defaults, &config, sizeof(config));
	free(text);
}

static void the_documented_keys_are_the_table(void **state)
{
	const char *root = getenv("CHI_TEST_SOURCE_DIR");
	char path[512], found[16384];
	char *text = keys_as_text();
	size_t size;
	FILE *in;

	(void)state;
	snprintf(path, sizeof(path), "%s/docs/chimaera.yaml", root ? root : ".");
	in = fopen(path, "r");
	assert_non_null(in);
	size = fread(found, 1, sizeof(found) - 1, in);
	found[size] = 0;
	fclose(in);
	assert_string_equal(found, text);
	free(text);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_files_are_all_defaults),
		cmocka_unit_test(each_kind_of_value_is_read),
		cmocka_unit_test(bad_values_name_line_key_and_what_is_allowed),
		cmocka_unit_test(a_cpu_we_may_not_use_is_refused),
		cmocka_unit_test(unknown_keys_suggest_the_nearest),
		cmocka_unit_test(duplicate_keys_are_refused),
		cmocka_unit_test(syntax_errors_have_a_position),
		cmocka_unit_test(keys_that_contradict_each_other_are_refused),
		cmocka_unit_test(files_are_read_and_their_absence_told),
		cmocka_unit_test(the_written_keys_are_the_defaults),
		cmocka_unit_test(the_documented_keys_are_the_table),
	};

	/* how docs/chimaera.yaml is made */
	if (argc == 2 && strcmp(argv[1], "--write") == 0) {
		chi_config_write_keys(stdout);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
