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

#include "runtime/config_internal.h"

static struct chi_config config;

static int load(const char *text)
{
	return chi_config_load(&(struct chi_config_layers){ .text = text }, &config, NULL);
}

static int load_file(const char *path)
{
	return chi_config_load(&(struct chi_config_layers){ .file = path }, &config, NULL);
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
	refused("workers:\n  count: 0x\n", "(text):2:10: key 'workers.count': 0x is no number (allowed 0..64)");
	refused("workers:\n  count: -1\n", "(text):2:10: key 'workers.count': -1 is no number (allowed 0..64)");
	refused("workers:\n  count:\n", "(text):2:3: key 'workers.count': nothing is no number (allowed 0..64)");
	refused("workers: {count: 65}", "(text):1:18: key 'workers.count': 65 is out of range (allowed 0..64)");
	refused("workers: {count: 99999999999999999999999}",
		"(text):1:18: key 'workers.count': 99999999999999999999999 is out of range (allowed 0..64)");
	refused("workers: {count: [1]}", "(text):1:11: key 'workers.count': a number is wanted (allowed 0..64)");
	refused("workers: {active_depth: 1000}",
		"(text):1:25: key 'workers.active_depth': 1000 is no power of two (allowed: powers of two in 2..1048576)");
	refused("workers: {run_in_place: yes}",
		"(text):1:25: key 'workers.run_in_place': 'yes' is not known (allowed: false, true)");
	refused("log_level: loud",
		"(text):1:12: key 'log_level': 'loud' is not known (allowed: error, warn, info, debug)");
	refused("name: a/b",
		"(text):1:7: key 'name': 'a/b' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused("name: ..", "(text):1:7: key 'name': '..' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused("name: \"\"", "(text):1:8: key 'name': '' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused("name: \"a\\e[1m\"",
		"(text):1:8: key 'name': 'a?[1m' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused("name: {a: 1}",
		"(text):1:1: key 'name': one value is wanted (allowed: at most 63 letters, digits and . _ -)");
	refused("workers: 3", "(text):1:1: key 'workers': keys below it are wanted, like 'workers.count'");
	refused("name: *other",
		"(text):1:8: key 'name': one value is wanted (allowed: at most 63 letters, digits and . _ -)");
}

static void a_cpu_we_may_not_use_is_refused(void **state)
{
	(void)state;
	refused("workers: {cpus: 3}", "(text):1:11: key 'workers.cpus': a list of CPUs is wanted, like [0, 1]");
	refused("workers: {cpus: [x]}", "(text):1:18: key 'workers.cpus': x is no number (allowed 0..1023)");
	refused("workers: {cpus: [1023]}", "(text):1:18: key 'workers.cpus': this process may not run on CPU 1023");
}

static void unknown_keys_suggest_the_nearest(void **state)
{
	(void)state;
	refused("workers:\n  cuont: 3\n",
		"(text):2:3: key 'workers.cuont': there is no such key; is 'workers.count' meant?");
	refused("spin_us: 3", "(text):1:1: key 'spin_us': there is no such key; is 'workers.spin_us' meant?");
	refused("worker: {count: 3}", "(text):1:1: key 'worker': there is no such key");
	refused("elephants: 3", "(text):1:1: key 'elephants': there is no such key");
	refused("? [a]\n: 3\n", "(text):1:1: a key must be a plain word");
}

static void duplicate_keys_are_refused(void **state)
{
	(void)state;
	refused("name: a\nname: b\n", "(text):2:1: key 'name': stands here a second time (first in line 1)");
	refused("workers: {count: 1}\nfibers: {max: 3}\nworkers: {count: 2}\n",
		"(text):3:1: key 'workers': stands here a second time");
	refused("workers: {count: 1,\n count: 2}\n",
		"(text):2:2: key 'workers.count': stands here a second time (first in line 1)");
}

static void syntax_errors_have_a_position(void **state)
{
	(void)state;
	refused("name: a: b", "(text):1:8: invalid nested block mapping on the same line");
	refused("name: x\nworkers: [1, 2\n", "(text):3:1: flow sequence without a closing bracket");
	refused("name: x\n\tgroup: y\n", "(text):1:7: invalid multiline plain key");
	refused("a plain word", "(text):1:1: keys and values are wanted, like 'workers: { count: 4 }'");
	refused("name: x\n---\nname: y\n", "(text): more than one document");
}

static void keys_that_contradict_each_other_are_refused(void **state)
{
	(void)state;
	refused("workers:\n  high_latency: 2\n  count: 2\n",
		"(text):2:3: key 'workers.high_latency': 2 of 2 workers: at least one must be left for low-latency lanes");
	refused("fibers:\n  stack_kib: 17\n",
		"(text):2:3: key 'fibers.stack_kib': 17 KiB are no multiple of the page, 4 KiB");
	refused("clients:\n  memory_mib: 8\n  lanes: 1024\n",
		"(text):2:3: key 'clients.memory_mib': 8 MiB are too small for 1024 lanes of 1024 slots");
}

static void files_are_read_and_their_absence_told(void **state)
{
	char path[] = "/tmp/chi-config-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "workers:\n  count: 3\n", 20), 20);
	assert_int_equal(load_file(path), 0);
	assert_int_equal(config.n_workers, 3);
	assert_int_equal(write(fd, "\0", 1), 1);
	assert_int_equal(load_file(path), -EINVAL);
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	assert_int_equal(load_file(path), -EFBIG);
	close(fd);
	unlink(path);
	assert_int_equal(load_file(path), -ENOENT);
	assert_non_null(strstr(chi_error_text(), path));
	assert_int_equal(load_file("/tmp"), -EISDIR);
}

static int load_layers(const char *text, const char *const *settings)
{
	return chi_config_load(&(struct chi_config_layers){ .text = text, .environment = true, .settings = settings },
			       &config, NULL);
}

static void later_layers_win(void **state)
{
	struct chi_config_layers layers = {
		.text = "name: of-file\nlog_level: debug\nworkers: {count: 2, lane_batch: 2, spin_us: 2}\n",
		.environment = true,
		.settings = (const char *const[]){ "workers.spin_us=4", "workers.hot_lanes=4", "workers.hot_lanes=5",
						   NULL },
		.name = "of-option",
	};
	struct chi_config_origin origins[CHI_CONFIG_KEYS_MAX];
	static const struct {
		const char *key, *origin;
	} wanted[] = {
		{ "name", "--name" },
		{ "log_level", "(text):2:1" },
		{ "stop_timeout_ms", "default" },
		{ "workers.lane_batch", "environment CHIMAERA_WORKERS_LANE_BATCH" },
		{ "workers.spin_us", "--set workers.spin_us" },
	};

	(void)state;
	setenv("CHIMAERA_NAME", "of-environment", 1);
	setenv("CHIMAERA_WORKERS_LANE_BATCH", "3", 1);
	setenv("CHIMAERA_WORKERS_SPIN_US", "3", 1);
	assert_int_equal(chi_config_load(&layers, &config, origins), 0);
	assert_string_equal(config.name, "of-option");
	assert_int_equal(config.log_level, CHI_LOG_DEBUG);
	assert_int_equal(config.n_workers, 2);
	assert_int_equal(config.lane_batch, 3);
	assert_int_equal(config.spin_ns, 4000);
	assert_int_equal(config.hot_lanes_max, 5);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		size_t key = (size_t)(chi_config_find_key(wanted[i].key) - chi_config_keys);
		char text[128];

		chi_config_origin_text(&layers, key, &origins[key], text, sizeof(text));
		assert_string_equal(text, wanted[i].origin);
	}

	/* the environment is looked at by who wants it alone */
	layers.environment = false;
	layers.name = NULL;
	assert_int_equal(chi_config_load(&layers, &config, NULL), 0);
	assert_string_equal(config.name, "of-file");
	assert_int_equal(config.lane_batch, 2);
	unsetenv("CHIMAERA_NAME");
	unsetenv("CHIMAERA_WORKERS_LANE_BATCH");
	unsetenv("CHIMAERA_WORKERS_SPIN_US");
}

static void every_key_has_a_variable_of_its_own(void **state)
{
	char names[CHI_CONFIG_KEYS_MAX][CHI_CONFIG_VARIABLE_MAX];

	(void)state;
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		chi_config_variable(&chi_config_keys[i], names[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(names[i], names[j]);
	}
	assert_string_equal(names[chi_config_find_key("workers.count") - chi_config_keys], "CHIMAERA_WORKERS_COUNT");
}

static void variables_that_are_nearly_one_are_known(void **state)
{
	char name[CHI_CONFIG_VARIABLE_MAX];

	(void)state;
	assert_string_equal(chi_config_variable_meant("CHIMAERA_WORKERS_CUONT", name), "CHIMAERA_WORKERS_COUNT");
	assert_string_equal(chi_config_variable_meant("CHIMAERA_LOGLEVEL", name), "CHIMAERA_LOG_LEVEL");
	assert_null(chi_config_variable_meant("CHIMAERA_WORKERS_COUNT", name));
	assert_null(chi_config_variable_meant("CHIMAERA_BIN", name));
	assert_null(chi_config_variable_meant("HOME", name));
}

static void refused_setting(const char *setting, const char *why)
{
	assert_int_equal(load_layers(NULL, (const char *const[]){ setting, NULL }), -EINVAL);
	assert_string_equal(chi_error_text(), why);
}

static void errors_name_the_variable_or_the_option(void **state)
{
	(void)state;
	setenv("CHIMAERA_WORKERS_COUNT", "65", 1);
	assert_int_equal(load_layers("", NULL), -EINVAL);
	assert_string_equal(
		chi_error_text(),
		"environment CHIMAERA_WORKERS_COUNT: key 'workers.count': 65 is out of range (allowed 0..64)");
	setenv("CHIMAERA_WORKERS_COUNT", "", 1); /* as if it were not set */
	setenv("CHIMAERA_WORKERS_CPUS", "[0", 1);
	assert_int_equal(load_layers("", NULL), -EINVAL);
	assert_string_equal(chi_error_text(), "environment CHIMAERA_WORKERS_CPUS: key 'workers.cpus': '[0' is no YAML");
	unsetenv("CHIMAERA_WORKERS_COUNT");
	unsetenv("CHIMAERA_WORKERS_CPUS");

	refused_setting("workers.count=x", "--set workers.count: key 'workers.count': x is no number (allowed 0..64)");
	refused_setting("workers.cuont=1",
			"--set: key 'workers.cuont': there is no such key; is 'workers.count' meant?");
	refused_setting("workers.count", "--set workers.count: KEY=VALUE is wanted, like workers.count=4");
	refused_setting("=1", "--set =1: KEY=VALUE is wanted, like workers.count=4");
	/* it could not be written into a file */
	refused_setting("log_file=a\x9e"
			"b",
			"--set log_file: key 'log_file': 'a?b' is no path (allowed: a path)");
	refused_setting("name=",
			"--set name: key 'name': '' is no name (allowed: at most 63 letters, digits and . _ -)");
	refused_setting("workers.cpus=0",
			"--set workers.cpus: key 'workers.cpus': a list of CPUs is wanted, like [0, 1]");
	/* two keys that do not go together: the source of the one that is told */
	assert_int_equal(load_layers("workers: {count: 4}", (const char *const[]){ "workers.high_latency=4", NULL }),
			 -EINVAL);
	assert_string_equal(chi_error_text(),
			    "--set workers.high_latency: key 'workers.high_latency': 4 of 4 workers: at "
			    "least one must be left for low-latency lanes");
	assert_int_equal(chi_config_load(&(struct chi_config_layers){ .name = "a/b" }, &config, NULL), -EINVAL);
	assert_string_equal(chi_error_text(),
			    "--name: key 'name': 'a/b' is no name (allowed: at most 63 letters, digits and . _ -)");
}

static void values_from_the_command_line_may_be_lists(void **state)
{
	(void)state;
	assert_int_equal(
		load_layers("workers: {cpus: []}\ncompose: [{module: x}]\n",
			    (const char *const[]){ "workers.cpus=[0]", "compose=[{module: blob}, {module: compress}]",
						   "group=", NULL }),
		0);
	assert_int_equal(config.n_cpus, 1);
	assert_int_equal(config.n_compose, 2);
	assert_string_equal(config.compose[1].module, "compress");
	assert_string_equal(config.compose[1].where, "--set compose");
	chi_config_free(&config);
}

static void composed_pools_are_read(void **state)
{
	(void)state;
	assert_int_equal(load("compose:\n"
			      "  - module: blob\n"
			      "    name: cache\n"
			      "    containers: 4\n"
			      "    params: \"a=1\\nb=\\\"2\\\"\"\n"
			      "  - { module: compress }\n"),
			 0);
	assert_int_equal(config.n_compose, 2);
	assert_string_equal(config.compose[0].module, "blob");
	assert_string_equal(config.compose[0].name, "cache");
	assert_int_equal(config.compose[0].n_containers, 4);
	assert_string_equal(config.compose[0].params, "a=1\nb=\"2\"");
	assert_string_equal(config.compose[0].where, "(text):2:5");
	assert_string_equal(config.compose[1].name, "");
	assert_int_equal(config.compose[1].n_containers, 1);
	assert_null(config.compose[1].params);
	assert_string_equal(config.compose[1].where, "(text):6:7");
	chi_config_free(&config);
}

static void bad_pools_are_refused(void **state)
{
	(void)state;
	refused("compose: blob", "(text):1:1: key 'compose': a list of pools is wanted, like [{ module: blob }]");
	refused("compose: [blob]", "(text):1:1: key 'compose': a pool is wanted, like { module: blob, containers: 4 }");
	refused("compose:\n - name: x\n", "(text):1:1: key 'compose': a pool without 'module'");
	refused("compose:\n - module: x\n   size: 3\n",
		"(text):3:10: key 'compose': a pool has no 'size', but module, name, containers, params");
	refused("compose:\n - module: x\n   containers: 0\n",
		"(text):3:16: key 'compose': 0 is out of range (allowed 1..1024)");
	refused("compose:\n - module: \"\"\n", "(text):2:13: key 'compose': module: 1 to 63 characters are wanted");
	refused("compose:\n - module: [x]\n",
		"(text):2:4: key 'compose': a pool's module, name, containers and params are one value each");
}

/* What `chimaera config` prints can be read again, and is then the same. */
static void written_values_are_read_back(void **state)
{
	static const char *const text = "name: seven\nlog_level: warn\nworkers: {cpus: [0, 0], run_in_place: false}\n"
					"clients: {lane_depth: 64}\n"
					"compose: [{module: m, name: \"q\\\"\", params: \"\\x01\\\\é\"}]\n";
	struct chi_config first;

	(void)state;
	assert_int_equal(load(text), 0);
	first = config;
	for (size_t i = 0; i < chi_config_n_keys; i++) {
		char *value = NULL, *again = NULL, setting[512];
		size_t size;
		FILE *out = open_memstream(&value, &size);

		chi_config_write_value(out, &first, &chi_config_keys[i]);
		fclose(out);
		snprintf(setting, sizeof(setting), "%s: %s\n", chi_config_keys[i].path, value);
		if (strchr(chi_config_keys[i].path, '.'))
			snprintf(setting, sizeof(setting), "%.*s: { %s: %s }\n",
				 (int)strcspn(chi_config_keys[i].path, "."), chi_config_keys[i].path,
				 strchr(chi_config_keys[i].path, '.') + 1, value);
		assert_int_equal(load(setting), 0);
		out = open_memstream(&again, &size);
		chi_config_write_value(out, &config, &chi_config_keys[i]);
		fclose(out);
		assert_string_equal(value, again);
		chi_config_free(&config);
		free(value);
		free(again);
	}
	chi_config_free(&first);
}

int main(void)
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
		cmocka_unit_test(later_layers_win),
		cmocka_unit_test(every_key_has_a_variable_of_its_own),
		cmocka_unit_test(variables_that_are_nearly_one_are_known),
		cmocka_unit_test(errors_name_the_variable_or_the_option),
		cmocka_unit_test(values_from_the_command_line_may_be_lists),
		cmocka_unit_test(composed_pools_are_read),
		cmocka_unit_test(bad_pools_are_refused),
		cmocka_unit_test(written_values_are_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
