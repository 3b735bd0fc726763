/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counters_test.c - what is counted, in which rows, and who can read it
 *
 * usage: counters_test [--write]; --write prints the tables of docs/counters.md
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <chimaera/runtime.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hshm/thread_model.h>

#include "../../modules/probe.h"
#include "runtime/container.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"
#include "task/counters_layout.h"
#include "task/socket_path.h"

#define NAME	 "counters-test"
#define DEFAULTS "workers: { count: 2 }\nmemory: { private_mib: 256 }\nclients: { memory_mib: 16, lanes: 4 }\n"

static struct chi_runtime *runtime;
static struct chi_client *client;
static uint32_t pool;

/* ---- a runtime, and a look at it ---- */

static struct chi_client *attach(void)
{
	struct chi_client *made = NULL;

	assert_int_equal(chi_runtime_client(runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &made), 0);
	return made;
}

static uint32_t make_pool(const char *name)
{
	struct chi_pool_spec spec = { .module = "probe", .name = name };
	uint32_t made = 0;

	assert_true(chi_pool_create(client, &spec, &made) >= 0);
	return made;
}

static int start(const char *config, bool listen)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.handle_faults = true, .listen = listen, .config_text = config,
							.name = NAME);

	if (chi_runtime_start(&opts, &runtime) < 0) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	client = attach();
	pool = make_pool("probe");
	return 0;
}

static int start_usual(void **state)
{
	(void)state;
	return start(DEFAULTS, true);
}

static int stop(void **state)
{
	int ret;

	(void)state;
	chi_client_disconnect(client);
	client = NULL;
	ret = chi_runtime_stop(runtime, HSHM_NSEC_PER_SEC, NULL);
	runtime = NULL;
	return ret;
}

static void path_of_counters(char path[PATH_MAX])
{
	chi_socket_sibling(chi_runtime_socket(runtime), CHI_COUNTERS_SUFFIX, path);
}

static struct chi_counters *look(void)
{
	struct chi_counters *counters = NULL;

	if (chi_counters_read(NAME, &counters) < 0)
		fail_msg("%s", chi_error_text());
	return counters;
}

static uint64_t number(const struct chi_counters *counters, uint32_t table, uint32_t row, const char *column)
{
	int index = chi_counters_column(table, column);

	assert_true(index >= 0);
	return chi_counters_number(counters, table, row, (uint32_t)index);
}

static const char *text(const struct chi_counters *counters, uint32_t table, uint32_t row, const char *column)
{
	int index = chi_counters_column(table, column);

	assert_true(index >= 0);
	return chi_counters_text(counters, table, row, (uint32_t)index);
}

static uint64_t sum(const struct chi_counters *counters, uint32_t table, const char *column)
{
	uint64_t total = 0;

	for (uint32_t row = 0; row < chi_counters_rows(counters, table); row++)
		total += number(counters, table, row, column);
	return total;
}

/* The row in which @column says @value; -1: none. */
static int row_of(const struct chi_counters *counters, uint32_t table, const char *column, uint64_t value)
{
	for (uint32_t row = 0; row < chi_counters_rows(counters, table); row++) {
		if (number(counters, table, row, column) == value)
			return (int)row;
	}
	return -1;
}

static int method_row(const struct chi_counters *counters, uint32_t of_pool, uint32_t method)
{
	for (uint32_t row = 0; row < chi_counters_rows(counters, CHI_COUNTERS_METHODS); row++) {
		if (number(counters, CHI_COUNTERS_METHODS, row, "pool") == of_pool &&
		    number(counters, CHI_COUNTERS_METHODS, row, "method") == method)
			return (int)row;
	}
	return -1;
}

static uint64_t of_method(const struct chi_counters *counters, uint32_t method, const char *column)
{
	int row = method_row(counters, pool, method);

	assert_true(row >= 0);
	return number(counters, CHI_COUNTERS_METHODS, (uint32_t)row, column);
}

static struct probe_task *make_task(uint32_t of_pool, uint32_t method, uint64_t in)
{
	struct chi_task *task = NULL;
	struct probe_task *made;

	assert_int_equal(chi_task_alloc(client, sizeof(*made), of_pool, CHI_QUERY_LOCAL_ID(0), method, &task), 0);
	made = (struct probe_task *)task;
	made->in = in;
	return made;
}

static int call_pool(uint32_t of_pool, uint32_t method, uint64_t in)
{
	struct probe_task *task = make_task(of_pool, method, in);
	int ret = chi_call(client, &task->task);

	assert_int_equal(chi_task_free(client, &task->task), 0);
	return ret;
}

static int call(uint32_t method, uint64_t in)
{
	return call_pool(pool, method, in);
}

/* ---- what is counted ---- */

#define REST_NS (300 * HSHM_NSEC_PER_MSEC)

static void the_rest_of_a_periodic_task_is_no_time_of_its_method(void **state)
{
	struct chi_counters *counters;
	struct probe_task *task;

	(void)state;
	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &task), 0);
	task->task.flags = CHI_TASK_PERIODIC;
	task->task.period_ns = 3600 * HSHM_NSEC_PER_SEC;
	assert_int_equal(chi_submit(client, task), 0);
	assert_int_equal(chi_flush(client), 0); /* it rests */
	HSHM_THREAD_MODEL->sleep_for_us(REST_NS / HSHM_NSEC_PER_USEC);
	chi_cancel(task);
	assert_int_equal(chi_wait(task, HSHM_FOREVER), 0);
	chi_task_free(client, task);
	counters = look();
	assert_true(of_method(counters, PROBE_ADD, "time_max_ns") < REST_NS);
	chi_counters_free(counters);
}

static void a_lane_counts_each_reference_once(void **state)
{
	struct chi_lane *lane;
	uint8_t epoch;
	struct chi_pool *its;

	(void)state;
	for (uint64_t i = 0; i < 40; i++)
		assert_int_equal(call(PROBE_ADD, i), 0);
	its = chi_pool_get(runtime->pools, pool, &epoch);
	assert_non_null(its);
	lane = chi_container_lane(its->local_table[0], 0, 0);
	assert_int_equal(hshm_load_relaxed(&lane->header->n_taken), hshm_load_relaxed(lane->ring.tail));
	chi_pool_put(its, epoch);
}

static void tasks_are_counted_for_their_method_and_its_pool(void **state)
{
	struct chi_counters *counters;
	int row;

	(void)state;
	for (uint64_t i = 0; i < 40; i++)
		assert_int_equal(call(PROBE_ADD, i), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(call(PROBE_FAIL, EIO), -EIO);
	counters = look();
	assert_int_equal(of_method(counters, PROBE_ADD, "started"), 40);
	assert_int_equal(of_method(counters, PROBE_ADD, "tasks"), 40);
	assert_int_equal(of_method(counters, PROBE_ADD, "failed"), 0);
	assert_int_equal(of_method(counters, PROBE_ADD, "in_flight"), 0);
	assert_true(of_method(counters, PROBE_ADD, "time_ns") > 0); /* 40 by two workers: one of 16 is timed */
	assert_true(of_method(counters, PROBE_ADD, "time_max_ns") > 0);
	assert_int_equal(of_method(counters, PROBE_FAIL, "failed"), 3);
	assert_string_equal(
		text(counters, CHI_COUNTERS_METHODS, (uint32_t)method_row(counters, pool, PROBE_ADD), "name"), "add");
	row = row_of(counters, CHI_COUNTERS_POOLS, "pool", pool);
	assert_true(row >= 0);
	assert_string_equal(text(counters, CHI_COUNTERS_POOLS, (uint32_t)row, "name"), "probe");
	assert_string_equal(text(counters, CHI_COUNTERS_POOLS, (uint32_t)row, "module"), "probe");
	assert_int_equal(number(counters, CHI_COUNTERS_POOLS, (uint32_t)row, "containers"), 1);
	assert_int_equal(number(counters, CHI_COUNTERS_POOLS, (uint32_t)row, "tasks"), 43);
	assert_int_equal(number(counters, CHI_COUNTERS_POOLS, (uint32_t)row, "failed"), 3);
	assert_int_equal(sum(counters, CHI_COUNTERS_METHODS, "tasks"), sum(counters, CHI_COUNTERS_WORKERS, "tasks"));
	chi_counters_free(counters);
}

static void subtasks_and_bytes_are_counted(void **state)
{
	struct probe_task *task = make_task(pool, PROBE_FAN, 0);
	struct chi_counters *counters;
	void *memory = NULL;

	(void)state;
	task->count = 5;
	assert_int_equal(chi_call(client, &task->task), 0);
	assert_int_equal(chi_task_free(client, &task->task), 0);
	task = make_task(pool, PROBE_COPY, 0);
	assert_int_equal(chi_alloc(client, 8192, &memory), 0);
	memset(memory, 1, 8192);
	assert_int_equal(chi_buffer_set(client, &task->buffers[0], memory, 4096, CHI_BUFFER_IN), 0);
	assert_int_equal(chi_buffer_set(client, &task->buffers[1], (char *)memory + 4096, 4096, CHI_BUFFER_OUT), 0);
	assert_int_equal(chi_call(client, &task->task), 0);
	assert_int_equal(chi_task_free(client, &task->task), 0);
	chi_free(client, memory);
	counters = look();
	assert_true(of_method(counters, PROBE_NOOP, "started") >= 5 || of_method(counters, PROBE_ADD, "started") >= 5);
	assert_int_equal(of_method(counters, PROBE_COPY, "bytes"), 8192);
	assert_true(of_method(counters, PROBE_COPY, "time_ns") > 0); /* with so many bytes each is timed */
	assert_int_equal(sum(counters, CHI_COUNTERS_METHODS, "in_flight"), 0);
	chi_counters_free(counters);
}

static void tasks_in_flight_are_seen_while_they_are(void **state)
{
	struct probe_task *gate = make_task(pool, PROBE_GATE_WAIT, 0);
	struct chi_counters *counters;
	int row;

	(void)state;
	assert_int_equal(chi_submit(client, &gate->task), 0);
	do {
		counters = look();
		row = row_of(counters, CHI_COUNTERS_CLIENTS, "client", 1);
		assert_true(row >= 0);
		/* the client is counted after the method, and its contexts when the turn ends */
		if (of_method(counters, PROBE_GATE_WAIT, "in_flight") == 1 &&
		    number(counters, CHI_COUNTERS_CLIENTS, (uint32_t)row, "in_flight") == 1 &&
		    number(counters, CHI_COUNTERS_CLIENTS, (uint32_t)row, "contexts_max") >= 1)
			break;
		chi_counters_free(counters);
	} while (true);
	assert_int_equal(number(counters, CHI_COUNTERS_CLIENTS, (uint32_t)row, "pid"), getpid());
	chi_counters_free(counters);
	assert_int_equal(call(PROBE_GATE_OPEN, 1), 0);
	assert_int_equal(chi_wait(&gate->task, HSHM_FOREVER), 0);
	assert_int_equal(chi_task_free(client, &gate->task), 0);
	counters = look();
	assert_int_equal(of_method(counters, PROBE_GATE_WAIT, "in_flight"), 0);
	assert_int_equal(number(counters, CHI_COUNTERS_CLIENTS, (uint32_t)row, "in_flight"), 0);
	chi_counters_free(counters);
}

static uint64_t asleep_or_looked_within(uint64_t ns)
{
	struct chi_counters *counters = look();
	uint64_t n = 0, now_ns = hshm_clock_ns();

	for (uint32_t row = 0; row < 2; row++)
		n += number(counters, CHI_COUNTERS_WORKERS, row, "asleep") ||
		     now_ns - number(counters, CHI_COUNTERS_WORKERS, row, "looked_ns") < ns;
	chi_counters_free(counters);
	return n;
}

static void a_worker_that_hangs_in_a_task_is_told_from_an_idle_one(void **state)
{
	struct probe_task *task = make_task(pool, PROBE_HOLD, 0);
	hshm_au32 *held;

	(void)state;
	assert_int_equal(chi_alloc(client, sizeof(*held), &held), 0);
	hshm_store_relaxed(held, 0);
	assert_int_equal(chi_buffer_set(client, &task->buffers[0], held, sizeof(*held), CHI_BUFFER_OUT), 0);
	assert_int_equal(chi_submit(client, &task->task), 0);
	while (!hshm_load_acquire(held) || asleep_or_looked_within(100 * HSHM_NSEC_PER_MSEC) != 1)
		HSHM_THREAD_MODEL->sleep_for_us(1000);
	hshm_store_release(held, 0);
	assert_int_equal(chi_wait(&task->task, HSHM_FOREVER), 0);
	assert_int_equal(chi_task_free(client, &task->task), 0);
	chi_free(client, held);
	while (asleep_or_looked_within(100 * HSHM_NSEC_PER_MSEC) != 2)
		HSHM_THREAD_MODEL->sleep_for_us(1000);
}

/* A lane's turn is counted at its end, which may come after its last task's. */
static uint64_t await_taken(uint64_t client_id, uint64_t wanted)
{
	uint64_t taken = 0;

	for (int i = 0; i < 5000 && taken < wanted; i++) {
		struct chi_counters *counters = look();

		taken = 0;
		for (uint32_t row = 0; row < chi_counters_rows(counters, CHI_COUNTERS_LANES); row++) {
			if (number(counters, CHI_COUNTERS_LANES, row, "client") == client_id)
				taken += number(counters, CHI_COUNTERS_LANES, row, "taken");
		}
		chi_counters_free(counters);
		HSHM_THREAD_MODEL->sleep_for_us(1000);
	}
	return taken;
}

static void lanes_tell_whose_they_are_and_what_was_taken(void **state)
{
	struct chi_counters *counters;
	int row;

	(void)state;
	assert_int_equal(call(PROBE_ADD, 1), 0);
	assert_int_equal(await_taken(1, 2), 2); /* the pool's making, and this */
	counters = look();
	row = row_of(counters, CHI_COUNTERS_LANES, "client", 1);
	assert_true(row >= 0);
	assert_int_equal(number(counters, CHI_COUNTERS_LANES, (uint32_t)row, "depth"), 1024);
	assert_int_equal(number(counters, CHI_COUNTERS_LANES, (uint32_t)row, "queued"), 0);
	row = row_of(counters, CHI_COUNTERS_LANES, "pool", pool);
	assert_true(row >= 0);
	assert_true(number(counters, CHI_COUNTERS_LANES, (uint32_t)row, "worker") < 2);
	chi_counters_free(counters);
}

static void refused_tasks_are_counted_for_client_and_method(void **state)
{
	struct probe_task *task = make_task(pool, PROBE_ADD, 0);
	struct chi_counters *counters;

	(void)state;
	task->task.size_bytes -= 64;
	assert_int_equal(chi_call(client, &task->task), -EMSGSIZE);
	task->task.size_bytes += 64;
	assert_int_equal(chi_task_free(client, &task->task), 0);
	counters = look();
	assert_int_equal(of_method(counters, PROBE_ADD, "refused"), 1);
	assert_int_equal(of_method(counters, PROBE_ADD, "started"), 0);
	assert_int_equal(sum(counters, CHI_COUNTERS_CLIENTS, "refused"), 1);
	chi_counters_free(counters);
}

/* ---- rows ---- */

static void rows_are_given_back_and_start_at_0(void **state)
{
	struct chi_counters *counters;
	uint32_t n_lanes, n_methods;

	(void)state;
	counters = look();
	n_lanes = chi_counters_rows(counters, CHI_COUNTERS_LANES);
	n_methods = chi_counters_rows(counters, CHI_COUNTERS_METHODS);
	chi_counters_free(counters);
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t other = make_pool("other");

		counters = look();
		assert_int_equal(number(counters, CHI_COUNTERS_POOLS,
					(uint32_t)row_of(counters, CHI_COUNTERS_POOLS, "pool", other), "tasks"),
				 0);
		chi_counters_free(counters);
		assert_int_equal(call_pool(other, PROBE_ADD, 1), 0);
		assert_int_equal(chi_pool_destroy(client, other), 0);
	}
	counters = look();
	assert_int_equal(chi_counters_rows(counters, CHI_COUNTERS_LANES), n_lanes);
	assert_int_equal(chi_counters_rows(counters, CHI_COUNTERS_METHODS), n_methods);
	assert_int_equal(chi_counters_rows(counters, CHI_COUNTERS_POOLS), 2);
	assert_int_equal(number(counters, CHI_COUNTERS_RUNTIME, 0, "pools_uncounted"), 0);
	chi_counters_free(counters);
}

/* No task is run without standing in its lane. */
static int start_queued(void **state)
{
	(void)state;
	return start("workers: { count: 2, run_in_place: false }\nmemory: { private_mib: 256 }\n", false);
}

static int start_scarce(void **state)
{
	(void)state;
	return start(DEFAULTS "counters: { pools: 1, methods: 16, clients: 1, lanes: 16 }\n", true);
}

static void what_finds_no_row_is_counted_together_and_told(void **state)
{
	struct chi_client *second = attach(), *first = client;
	struct chi_counters *counters;
	uint32_t others[12];

	(void)state;
	for (uint32_t i = 0; i < 12; i++) {
		char name[16];

		snprintf(name, sizeof(name), "pool-%u", i);
		others[i] = make_pool(name);
	}
	client = second; /* found no row */
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(call_pool(others[i], PROBE_ADD, i), 0);
	client = first;
	counters = look();
	assert_true(number(counters, CHI_COUNTERS_RUNTIME, 0, "pools_uncounted") >= 11);
	assert_true(number(counters, CHI_COUNTERS_RUNTIME, 0, "methods_uncounted") > 12);
	assert_int_equal(number(counters, CHI_COUNTERS_RUNTIME, 0, "clients_uncounted"), 1);
	assert_true(number(counters, CHI_COUNTERS_RUNTIME, 0, "lanes_uncounted") > 0);
	assert_string_equal(text(counters, CHI_COUNTERS_METHODS, 0, "name"), "(others)");
	assert_true(number(counters, CHI_COUNTERS_METHODS, 0, "tasks") >= 12);
	assert_int_equal(number(counters, CHI_COUNTERS_CLIENTS, 0, "client"), 0);
	assert_int_equal(number(counters, CHI_COUNTERS_CLIENTS, 0, "ended"), 12);
	/* nothing is lost */
	assert_int_equal(sum(counters, CHI_COUNTERS_METHODS, "tasks"), sum(counters, CHI_COUNTERS_WORKERS, "tasks"));
	chi_counters_free(counters);
	chi_client_disconnect(second);
}

/* ---- the file ---- */

static bool has_writer(int fd)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	char path[64];
	int other, ret;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	other = open(path, O_RDONLY);
	assert_true(other >= 0);
	ret = fcntl(other, F_OFD_GETLK, &lock);
	close(other);
	return ret == 0 && lock.l_type == F_WRLCK;
}

static bool locked_when_given;

/* The runtime's call comes here, not to the C library. */
int fchmod(int fd, mode_t mode)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	if (strstr(path, CHI_COUNTERS_SUFFIX ".new"))
		locked_when_given = has_writer(fd);
	return (int)syscall(SYS_fchmod, fd, mode);
}

/* Else a member of the group could be the first to lock it. */
static void the_file_is_locked_before_others_may_read_it(void **state)
{
	(void)state;
	assert_true(locked_when_given);
}

static void the_file_goes_with_the_runtime(void **state)
{
	struct chi_counters *counters;
	char path[PATH_MAX];
	struct stat st;

	(void)state;
	path_of_counters(path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	counters = look();
	assert_true(chi_counters_alive(counters));
	assert_string_equal(chi_counters_path(counters), path);
	assert_string_equal(text(counters, CHI_COUNTERS_RUNTIME, 0, "name"), NAME);
	assert_int_equal(number(counters, CHI_COUNTERS_RUNTIME, 0, "pid"), getpid());
	assert_int_equal(number(counters, CHI_COUNTERS_RUNTIME, 0, "clients_attached"), 1);
	assert_int_equal(chi_counters_rows(counters, CHI_COUNTERS_WORKERS), 2);
	assert_int_equal(number(counters, CHI_COUNTERS_WORKERS, 1, "worker"), 1);
	assert_true(number(counters, CHI_COUNTERS_WORKERS, 1, "thread") > 0);
	chi_counters_free(counters);
	assert_int_equal(stop(NULL), 0);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(chi_counters_read(NAME, &counters), -ENOENT);
	assert_int_equal(start(DEFAULTS, true), 0);
}

static uint64_t own_number(const char *column)
{
	struct chi_counters *counters = look();
	uint64_t value = number(counters, CHI_COUNTERS_RUNTIME, 0, column);

	chi_counters_free(counters);
	return value;
}

/* A client's own lanes, and tasks that have just ended, are a few KiB more or less. */
static void private_memory_is_noted_when_a_client_comes_and_when_one_has_gone(void **state)
{
	const uint64_t size = 1u << 20, slack = size / 4;
	uint64_t own = own_number("own_bytes"), modules = own_number("module_bytes");
	struct chi_client *other;
	void *own_block, *block;

	(void)state;
	assert_true(own > 0);
	assert_int_equal(hshm_heap_alloc(runtime->heap, size, &own_block), 0);
	assert_int_equal(hshm_heap_alloc(runtime->module_heap, 2 * size, &block), 0);
	other = attach();
	assert_in_range(own_number("own_bytes"), own + size - slack, own + size + slack);
	assert_in_range(own_number("module_bytes"), modules + 2 * size - slack, modules + 2 * size + slack);
	hshm_heap_free(runtime->heap, own_block);
	hshm_heap_free(runtime->module_heap, block);
	chi_client_disconnect(other);
	while (own_number("clients_ended") < 1)
		HSHM_THREAD_MODEL->sleep_for_us(100);
	assert_in_range(own_number("own_bytes"), 1, own + slack);
	assert_in_range(own_number("module_bytes"), 0, modules + slack);
}

static hshm_au32 ends_while_read;

/* The reader's calls come here. */
ssize_t pread(int fd, void *bytes, size_t size_bytes, off_t offset)
{
	ssize_t n = syscall(SYS_pread64, fd, bytes, size_bytes, offset);

	if (hshm_exchange_acq_rel(&ends_while_read, 0))
		(void)!stop(NULL);
	return n;
}

/* Opened while it lived, and without a lock when it is asked for: that is what one that died has left, too. */
static void a_runtime_that_ends_while_it_is_read_has_gone(void **state)
{
	struct chi_counters *counters;

	(void)state;
	hshm_store_relaxed(&ends_while_read, 1);
	assert_int_equal(chi_counters_read(NAME, &counters), -ENOENT);
	assert_int_equal(start(DEFAULTS, true), 0);
}

static void the_file_of_a_successor_stays(void **state)
{
	char path[PATH_MAX], new_path[PATH_MAX + 8];
	int fd;

	(void)state;
	path_of_counters(path);
	snprintf(new_path, sizeof(new_path), "%s.x", path);
	fd = open(new_path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(rename(new_path, path), 0);
	assert_int_equal(stop(NULL), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(start(DEFAULTS, true), 0);
}

static void who_does_not_listen_makes_no_file(void **state)
{
	struct chi_counters *counters;
	struct chi_runtime_info info;

	(void)state;
	assert_int_equal(stop(NULL), 0);
	assert_int_equal(start(DEFAULTS, false), 0);
	assert_int_equal(chi_counters_read(NAME, &counters), -ENOENT);
	assert_int_equal(call(PROBE_ADD, 1), 0);
	assert_int_equal(chi_client_runtime_info(client, &info), 0);
	assert_true(info.workers[0].tasks.v + info.workers[1].tasks.v >= 2);
}

/* The bytes of the living runtime's file, and a file of our own to spoil. */
struct copy {
	char path[PATH_MAX];
	char name[PATH_MAX]; /* whose counters file @path is */
	char *bytes;
	size_t n;
};

static void make_copy(struct copy *copy)
{
	char path[PATH_MAX];
	struct stat st;
	int fd;

	path_of_counters(path);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	copy->n = (size_t)st.st_size;
	copy->bytes = malloc(copy->n);
	assert_int_equal(read(fd, copy->bytes, copy->n), copy->n);
	close(fd);
	snprintf(copy->path, sizeof(copy->path), "%.*s/copy.counters", (int)(strrchr(path, '/') - path), path);
	snprintf(copy->name, sizeof(copy->name), "%.*s/copy.sock", (int)(strrchr(path, '/') - path), path);
}

static void write_copy(const struct copy *copy, size_t n)
{
	int fd = open(copy->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, copy->bytes, n), n);
	close(fd);
}

static void drop_copy(struct copy *copy)
{
	unlink(copy->path);
	free(copy->bytes);
}

static void a_file_that_nobody_writes_says_so(void **state)
{
	struct chi_counters *counters;
	struct copy copy;

	(void)state;
	assert_int_equal(call(PROBE_ADD, 1), 0);
	make_copy(&copy);
	write_copy(&copy, copy.n);
	assert_int_equal(chi_counters_read(copy.name, &counters), 0);
	assert_false(chi_counters_alive(counters));
	assert_int_equal(of_method(counters, PROBE_ADD, "tasks"), 1);
	chi_counters_free(counters);
	drop_copy(&copy);
}

static void lock_copy(const struct copy *copy, int flags, short type, int *ret_fd)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	*ret_fd = open(copy->path, flags);
	assert_true(*ret_fd >= 0);
	assert_int_equal(fcntl(*ret_fd, F_OFD_SETLK, &lock), 0);
}

static void who_only_reads_the_file_gives_it_no_life(void **state)
{
	struct chi_counters *counters;
	struct copy copy;
	int fd;

	(void)state;
	make_copy(&copy);
	write_copy(&copy, copy.n);
	lock_copy(&copy, O_RDONLY, F_RDLCK, &fd);
	assert_int_equal(chi_counters_read(copy.name, &counters), 0);
	assert_false(chi_counters_alive(counters));
	chi_counters_free(counters);
	close(fd);
	drop_copy(&copy);
}

static void a_file_that_was_cut_is_refused(void **state)
{
	static const size_t sizes[] = { 0, 1, 100, 175, 176, 4096, 20480 };
	struct chi_counters *counters;
	struct copy copy;

	(void)state;
	make_copy(&copy);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		write_copy(&copy, sizes[i]);
		assert_int_equal(chi_counters_read(copy.name, &counters), -EPROTO);
	}
	write_copy(&copy, copy.n - 1);
	assert_int_equal(chi_counters_read(copy.name, &counters), -EPROTO);
	unlink(copy.path);
	assert_int_equal(chi_counters_read(copy.name, &counters), -ENOENT);
	assert_int_equal(mkdir(copy.path, 0700), 0);
	assert_int_equal(chi_counters_read(copy.name, &counters), -EPROTO);
	assert_int_equal(rmdir(copy.path), 0);
	assert_int_equal(mkfifo(copy.path, 0600), 0);
	assert_int_equal(chi_counters_read(copy.name, &counters), -EPROTO);
	drop_copy(&copy);
}

static void read_all(const struct chi_counters *counters)
{
	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++) {
		const struct chi_counter_column *columns;
		uint32_t n_columns = chi_counters_columns(t, &columns);

		for (uint32_t row = 0; row < chi_counters_rows(counters, t); row++) {
			for (uint32_t i = 0; i < n_columns; i++) {
				const char *shown = chi_counters_text(counters, t, row, i);

				(void)chi_counters_number(counters, t, row, i);
				for (; *shown; shown++)
					assert_true(*shown >= ' ' && *shown <= '~');
			}
		}
	}
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Any word of the header, and any byte of the rest: an error or figures, never a fault. */
static void rubbish_in_the_file_is_refused_or_shown(void **state)
{
	static const uint64_t values[] = { 0, 1, 8, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 31, UINT64_C(1) << 63 };
	struct chi_counters *counters;
	uint64_t seed = 4711;
	struct copy copy;
	uint32_t n_read = 0;

	(void)state;
	make_copy(&copy);
	for (int i = 0; i < 600; i++) {
		size_t at = next_random(&seed) % (i % 2 ? copy.n / 8 : sizeof(struct chi_counters_header) / 8) * 8;
		uint64_t value = next_random(&seed), had;

		if (i % 3)
			value = values[value % (sizeof(values) / sizeof(values[0]))];
		memcpy(&had, copy.bytes + at, sizeof(had));
		memcpy(copy.bytes + at, &value, sizeof(value));
		write_copy(&copy, copy.n);
		if (chi_counters_read(copy.name, &counters) == 0) {
			read_all(counters);
			chi_counters_free(counters);
			n_read++;
		}
		memcpy(copy.bytes + at, &had, sizeof(had));
	}
	assert_true(n_read > 100 && n_read < 600);
	drop_copy(&copy);
}

static void a_text_without_an_end_ends(void **state)
{
	struct chi_counters *counters;
	struct copy copy;
	struct chi_runtime_facts *facts;

	(void)state;
	make_copy(&copy);
	facts = (struct chi_runtime_facts *)(void *)(copy.bytes + ((struct chi_counters_header *)(void *)copy.bytes)
									  ->places[CHI_COUNTERS_RUNTIME]
									  .facts_offset);
	memset(facts->name, 0x1b, sizeof(facts->name));
	write_copy(&copy, copy.n);
	assert_int_equal(chi_counters_read(copy.name, &counters), 0);
	assert_int_equal(strlen(text(counters, CHI_COUNTERS_RUNTIME, 0, "name")), CHI_COUNTERS_TEXT_MAX - 1);
	read_all(counters);
	chi_counters_free(counters);
	drop_copy(&copy);
}

static struct chi_counters_place *place_in(const struct copy *copy, uint32_t table)
{
	return &((struct chi_counters_header *)(void *)copy->bytes)->places[table];
}

static void tables_over_the_header_are_refused(void **state)
{
	static const uint64_t offsets[] = { 0, 32, 96, sizeof(struct chi_counters_header) - 8 };
	struct chi_counters *counters;
	struct copy copy;

	(void)state;
	make_copy(&copy);
	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++) {
		struct chi_counters_place *place = place_in(&copy, t), had = *place;

		for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
			place->facts_offset = offsets[i];
			write_copy(&copy, copy.n);
			assert_int_equal(chi_counters_read(copy.name, &counters), -EPROTO);
			*place = had;
			place->counters_offset = offsets[i];
			write_copy(&copy, copy.n);
			assert_int_equal(chi_counters_read(copy.name, &counters), -EPROTO);
			*place = had;
		}
	}
	drop_copy(&copy);
}

/* As large as it says; what was added is 0. */
static void write_grown(struct copy *copy, uint64_t size_bytes)
{
	((struct chi_counters_header *)(void *)copy->bytes)->size_bytes = size_bytes;
	write_copy(copy, copy->n);
	assert_int_equal(truncate(copy->path, (off_t)size_bytes), 0);
}

static int read_copy_with(struct copy *copy, uint32_t table, uint32_t n_rows, uint32_t n_writers)
{
	struct chi_counters_place *place = place_in(copy, table), had = *place;
	struct chi_counters *counters = NULL;
	int rc;

	place->n_rows = n_rows;
	place->n_writers = n_writers;
	if (table != CHI_COUNTERS_RUNTIME)
		place->facts_offset = place->counters_offset = copy->n; /* no row is in use */
	write_grown(copy, UINT64_C(16) << 20);
	rc = chi_counters_read(copy->name, &counters);
	chi_counters_free(counters);
	*place = had;
	return rc;
}

static void more_than_a_runtime_can_count_is_refused(void **state)
{
	static const struct {
		uint32_t n_rows, n_writers;
	} most[CHI_COUNTERS_TABLES] = {
		[CHI_COUNTERS_RUNTIME] = { 1, 1 },	[CHI_COUNTERS_WORKERS] = { 64, 1 },
		[CHI_COUNTERS_POOLS] = { 4098, 0 },	[CHI_COUNTERS_METHODS] = { 16386, 64 },
		[CHI_COUNTERS_CLIENTS] = { 16386, 64 }, [CHI_COUNTERS_LANES] = { 65600, 1 },
	};
	struct copy copy;

	(void)state;
	make_copy(&copy);
	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++) {
		assert_int_equal(read_copy_with(&copy, t, most[t].n_rows, most[t].n_writers ? 1 : 0), 0);
		assert_int_equal(read_copy_with(&copy, t, most[t].n_rows + 1, most[t].n_writers ? 1 : 0), -EPROTO);
		assert_int_equal(read_copy_with(&copy, t, 1, most[t].n_writers), 0);
		assert_int_equal(read_copy_with(&copy, t, 1, most[t].n_writers + 1), -EPROTO);
	}
	drop_copy(&copy);
}

static void fill_rows(char *facts, uint32_t n_rows, uint32_t row_bytes, size_t pool_offset)
{
	const uint64_t one = 1;

	memset(facts, 0, (size_t)n_rows * row_bytes);
	for (uint32_t row = 0; row < n_rows; row++) {
		memcpy(facts + (size_t)row * row_bytes, &one, sizeof(one)); /* used */
		memcpy(facts + (size_t)row * row_bytes + pool_offset, &one, sizeof(one));
	}
}

/* Or this does not end in the test's time: each method is added once, not once for each pool that says the same id. */
static void a_file_of_the_largest_size_is_read_in_good_time(void **state)
{
	const struct chi_counters_table_info *pools = &chi_counters_tables[CHI_COUNTERS_POOLS];
	const struct chi_counters_table_info *methods = &chi_counters_tables[CHI_COUNTERS_METHODS];
	const uint32_t n_pools = 4098, n_methods = 16386;
	struct chi_counters *counters;
	struct copy copy;
	size_t n;

	(void)state;
	make_copy(&copy);
	n = copy.n;
	copy.n += (size_t)n_pools * pools->facts_bytes + (size_t)n_methods * methods->facts_bytes;
	copy.bytes = realloc(copy.bytes, copy.n);
	assert_non_null(copy.bytes);
	*place_in(&copy, CHI_COUNTERS_POOLS) = (struct chi_counters_place){ n, n, n_pools, 0 };
	fill_rows(copy.bytes + n, n_pools, pools->facts_bytes, offsetof(struct chi_pool_facts, pool));
	n += (size_t)n_pools * pools->facts_bytes;
	*place_in(&copy, CHI_COUNTERS_METHODS) = (struct chi_counters_place){ n, copy.n, n_methods, CHI_WORKERS_MAX };
	fill_rows(copy.bytes + n, n_methods, methods->facts_bytes, offsetof(struct chi_method_facts, pool));
	write_grown(&copy, copy.n + (uint64_t)CHI_WORKERS_MAX * n_methods * methods->counters_bytes);
	assert_int_equal(chi_counters_read(copy.name, &counters), 0);
	assert_int_equal(chi_counters_rows(counters, CHI_COUNTERS_POOLS), n_pools);
	assert_int_equal(chi_counters_rows(counters, CHI_COUNTERS_METHODS), n_methods);
	read_all(counters);
	chi_counters_free(counters);
	drop_copy(&copy);
}

/* The facts of a living runtime are read again: into bytes that another table has, too. */
static void tables_over_each_other_show_clean_texts(void **state)
{
	struct chi_counters *counters;
	struct copy copy;
	int fd;

	(void)state;
	make_copy(&copy);
	for (uint64_t shift = 0; shift < 256; shift += 8) {
		struct chi_counters_place *pools = place_in(&copy, CHI_COUNTERS_POOLS);
		struct chi_counters_place *methods = place_in(&copy, CHI_COUNTERS_METHODS);

		methods->facts_offset = pools->facts_offset + shift;
		methods->n_rows = pools->n_rows;
		memset(copy.bytes + pools->facts_offset, 0x1b,
		       pools->n_rows * chi_counters_tables[CHI_COUNTERS_POOLS].facts_bytes);
		write_copy(&copy, copy.n);
		lock_copy(&copy, O_RDWR, F_WRLCK, &fd);
		assert_int_equal(chi_counters_read(copy.name, &counters), 0);
		assert_true(chi_counters_alive(counters));
		read_all(counters);
		chi_counters_free(counters);
		close(fd);
	}
	drop_copy(&copy);
}

static void put_anywhere(const struct copy *copy, struct chi_counters_place *place, uint64_t *seed)
{
	place->facts_offset = next_random(seed) % (copy->n / 8) * 8;
	place->counters_offset = next_random(seed) % (copy->n / 8) * 8;
	place->n_rows = (uint32_t)(next_random(seed) % 64);
	place->n_writers = (uint32_t)(next_random(seed) % 3);
	if (next_random(seed) % 4 == 0) /* over the header, if it may */
		place->facts_offset %= 2 * sizeof(struct chi_counters_header);
}

/* One table anywhere, in bytes of any kind, in a file that somebody keeps locked: an error or figures, never a fault. */
static void tables_anywhere_are_refused_or_shown(void **state)
{
	struct chi_counters *counters;
	uint64_t seed = 1147;
	uint32_t n_read = 0;
	struct copy copy;
	int fd;

	(void)state;
	make_copy(&copy);
	write_copy(&copy, copy.n);
	lock_copy(&copy, O_RDWR, F_WRLCK, &fd);
	for (int i = 0; i < 400; i++) {
		struct chi_counters_place had[CHI_COUNTERS_TABLES];

		memcpy(had, place_in(&copy, 0), sizeof(had));
		for (uint32_t n = 0; n < 2; n++)
			put_anywhere(&copy, place_in(&copy, 1 + (uint32_t)(next_random(&seed) % 5)), &seed);
		for (uint32_t n = 0; n < 512; n++)
			copy.bytes[sizeof(struct chi_counters_header) +
				   next_random(&seed) % (copy.n - sizeof(struct chi_counters_header))] =
				(char)next_random(&seed);
		write_copy(&copy, copy.n);
		if (chi_counters_read(copy.name, &counters) == 0) {
			read_all(counters);
			chi_counters_free(counters);
			n_read++;
		}
		memcpy(place_in(&copy, 0), had, sizeof(had));
	}
	assert_true(n_read > 50 && n_read < 400);
	close(fd);
	drop_copy(&copy);
}

/* ---- columns, and the page that documents them ---- */

static void columns_have_names_of_their_own(void **state)
{
	(void)state;
	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++) {
		const struct chi_counter_column *columns;
		uint32_t n = chi_counters_columns(t, &columns);

		assert_non_null(chi_counters_table_name(t));
		for (uint32_t i = 0; i < n; i++)
			assert_int_equal(chi_counters_column(t, columns[i].name), i);
	}
	assert_null(chi_counters_table_name(CHI_COUNTERS_TABLES));
	assert_int_equal(chi_counters_column(0, "no such"), -ENOENT);
}

static void write_page(FILE *out)
{
	static const char *const kinds[] = { [CHI_COUNTER_TEXT] = "fact",
					     [CHI_COUNTER_NUMBER] = "fact",
					     [CHI_COUNTER_COUNT] = "grows",
					     [CHI_COUNTER_LEVEL] = "now",
					     [CHI_COUNTER_MAX] = "highest" };

	for (uint32_t t = 0; t < CHI_COUNTERS_TABLES; t++) {
		const struct chi_counter_column *columns;
		uint32_t n = chi_counters_columns(t, &columns);

		fprintf(out, "\n## %s\n\n| Name | Unit | Kind | What it tells |\n|---|---|---|---|\n",
			chi_counters_table_name(t));
		for (uint32_t i = 0; i < n; i++)
			fprintf(out, "| `%s` | %s | %s | %s |\n", columns[i].name, columns[i].unit,
				kinds[columns[i].kind], columns[i].text);
	}
}

static void the_documented_counters_are_the_tables(void **state)
{
	char path[PATH_MAX], page[65536];
	const char *documented;
	char *tables = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&tables, &size), *in;

	(void)state;
	assert_non_null(out);
	write_page(out);
	fclose(out);
	snprintf(path, sizeof(path), "%s/docs/counters.md", getenv("CHI_TEST_SOURCE_DIR"));
	in = fopen(path, "r");
	assert_non_null(in);
	page[fread(page, 1, sizeof(page) - 1, in)] = '\0';
	fclose(in);
	documented = strstr(page, "\n## runtime\n");
	if (!documented || strcmp(documented, tables) != 0)
		fail_msg("docs/counters.md: from '## runtime' on it has to be what 'runtime_counters --write' prints");
	free(tables);
}

int main(int argc, char **argv)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, start_usual, stop)
	const struct CMUnitTest tests[] = {
		CASE(tasks_are_counted_for_their_method_and_its_pool),
		CASE(private_memory_is_noted_when_a_client_comes_and_when_one_has_gone),
		CASE(the_rest_of_a_periodic_task_is_no_time_of_its_method),
		CASE(subtasks_and_bytes_are_counted),
		cmocka_unit_test_setup_teardown(a_lane_counts_each_reference_once, start_queued, stop),
		CASE(tasks_in_flight_are_seen_while_they_are),
		CASE(a_worker_that_hangs_in_a_task_is_told_from_an_idle_one),
		CASE(lanes_tell_whose_they_are_and_what_was_taken),
		CASE(refused_tasks_are_counted_for_client_and_method),
		CASE(rows_are_given_back_and_start_at_0),
		cmocka_unit_test_setup_teardown(what_finds_no_row_is_counted_together_and_told, start_scarce, stop),
		CASE(the_file_is_locked_before_others_may_read_it),
		CASE(the_file_goes_with_the_runtime),
		CASE(a_runtime_that_ends_while_it_is_read_has_gone),
		CASE(the_file_of_a_successor_stays),
		CASE(who_does_not_listen_makes_no_file),
		CASE(a_file_that_nobody_writes_says_so),
		CASE(who_only_reads_the_file_gives_it_no_life),
		CASE(a_file_that_was_cut_is_refused),
		CASE(rubbish_in_the_file_is_refused_or_shown),
		CASE(a_text_without_an_end_ends),
		CASE(tables_over_the_header_are_refused),
		CASE(more_than_a_runtime_can_count_is_refused),
		CASE(tables_over_each_other_show_clean_texts),
		CASE(tables_anywhere_are_refused_or_shown),
		CASE(a_file_of_the_largest_size_is_read_in_good_time),
		cmocka_unit_test(columns_have_names_of_their_own),
		cmocka_unit_test(the_documented_counters_are_the_tables),
	};

	/* how the tables of docs/counters.md are made */
	if (argc == 2 && strcmp(argv[1], "--write") == 0) {
		write_page(stdout);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
