/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * runtime.c - start and stop of a runtime
 */
#include "runtime/runtime.h"

#include <errno.h>
#include <hshm/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "client/client.h"
#include "runtime/builtin.h"
#include "runtime/compose.h"
#include "runtime/counter_page.h"
#include "runtime/fault.h"
#include "runtime/given_up.h"
#include "runtime/ipc_manager.h"
#include "runtime/log.h"
#include "runtime/module_manager.h"
#include "runtime/pool_manager.h"
#include "runtime/reload.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "task/error.h"

#define ARMED_MAX      65536u
#define OPTS_SIZE_MAX  4096u /* as the client's: a larger one was never set */
#define DRAIN_CHECK_NS (200 * HSHM_NSEC_PER_USEC)
#define STOP_GRACE_NS  HSHM_NSEC_PER_SEC /* for what a worker has in hand when it is asked to end */

struct chi_config_layers chi_runtime_layers(const struct chi_runtime_opts *opts)
{
	return (struct chi_config_layers){
		.file = opts->config_file,
		.text = opts->config_text,
		.environment = opts->environment,
		.settings = opts->settings,
		.name = opts->name,
	};
}

/* Never the same twice, so that nothing of an earlier runtime is taken for this one's. */
static uint64_t make_generation(void)
{
	uint64_t generation = 0;

	if (getrandom(&generation, sizeof(generation), 0) != sizeof(generation))
		generation = hshm_clock_ns() ^ ((uint64_t)getpid() << 32);
	return generation | 1;
}

static uint32_t spinning_max(void)
{
	return chi_cpus_available() - 1; /* the clients need a core too */
}

/* A quarter of the private memory is the runtime's own: when modules have taken all the rest, there are still tasks
 * that tell them to give it back. */
static int make_heaps(struct chi_runtime *runtime)
{
	uint64_t size_bytes = runtime->private_mem.map.size_bytes;
	uint64_t own_end = size_bytes / 4 / CHI_PAGE * CHI_PAGE;
	int ret = hshm_heap_create(&runtime->private_mem, CHI_PAGE, own_end - CHI_PAGE, &runtime->heap);

	if (ret == 0)
		ret = hshm_heap_create(&runtime->private_mem, own_end, size_bytes - own_end, &runtime->module_heap);
	return ret < 0 ? chi_error_set(ret, "cannot make the runtime's heaps: %s", strerror(-ret)) : 0;
}

static int make_segments(struct chi_runtime *runtime)
{
	const struct chi_config *config = &runtime->config;
	uint64_t n_armed = (uint64_t)config->clients_max * config->client_lanes * CHI_PRIOS;
	struct chi_main_header *header;
	uint64_t main_bytes;
	int ret;

	n_armed = n_armed < ARMED_MAX ? n_armed : ARMED_MAX;
	main_bytes = chi_main_armed_offset((uint32_t)n_armed);
	ret = hshm_segment_create("chimaera-main", main_bytes, CHI_SEGMENT_MAIN, HSHM_SEAL_WRITE, &runtime->main);
	if (ret == 0)
		ret = hshm_segment_reserve(&runtime->main, 0, chi_main_armed_offset(0));
	if (ret < 0)
		return chi_error_set(ret, "cannot make the main segment: %s", strerror(-ret));
	header = chi_runtime_main_header(runtime);
	header->magic = CHI_MAIN_MAGIC;
	header->generation = runtime->generation;
	header->pid = getpid();
	header->n_armed = (uint32_t)n_armed;
	header->started_ns = hshm_clock_ns();
	header->size_bytes = runtime->main.map.size_bytes;
	hshm_store_relaxed(&header->n_given_up, CHI_NOT_ENDED); /* relaxed: published with the layout version */
	ret = hshm_segment_create_private(config->private_bytes, CHI_SEGMENT_PRIVATE, &runtime->private_mem);
	if (ret < 0)
		return chi_error_set(ret, "no room for %llu bytes of private memory: %s",
				     (unsigned long long)config->private_bytes, strerror(-ret));
	return make_heaps(runtime);
}

static int make_pools(struct chi_runtime *runtime)
{
	struct chi_pool_spec spec = { .module = "admin", .name = "admin", .n_containers = 1 };
	uint32_t pool_id;
	bool created;
	int ret = chi_module_manager_create(&runtime->modules);

	if (ret == 0)
		ret = chi_module_register_builtin(runtime->modules, &chi_admin_module);
	if (ret == 0)
		ret = chi_pool_manager_create(runtime, &runtime->pools);
	if (ret == 0)
		ret = chi_pool_make(runtime->pools, &spec, false, CHI_ADMIN_POOL_ID, &pool_id, &created);
	return ret;
}

static void free_runtime(struct chi_runtime *runtime)
{
	chi_ipc_destroy(runtime->ipc);
	chi_pool_manager_destroy(runtime->pools);
	chi_module_manager_destroy(runtime->modules);
	chi_work_orch_destroy(runtime->orch);
	hshm_heap_destroy(runtime->module_heap);
	hshm_heap_destroy(runtime->heap);
	hshm_segment_close(&runtime->private_mem);
	hshm_segment_close(&runtime->main);
	chi_config_layers_free(&runtime->layers);
	chi_config_free(&runtime->config);
	chi_counter_page_destroy(runtime->counters);
	pthread_cond_destroy(&runtime->stop_asked);
	pthread_mutex_destroy(&runtime->stop_lock);
	free(runtime);
}

int chi_runtime_check_opts(const struct chi_runtime_opts *opts, struct chi_runtime_opts *ret_opts)
{
	memset(ret_opts, 0, sizeof(*ret_opts));
	if (!opts)
		return 0;
	if (opts->size < sizeof(opts->size) || opts->size > OPTS_SIZE_MAX)
		return chi_error_set(-EINVAL, "options of %u bytes: set by CHI_RUNTIME_OPTS()?", opts->size);
	for (uint32_t i = sizeof(*ret_opts); i < opts->size; i++)
		if (((const unsigned char *)opts)[i])
			return chi_error_set(-E2BIG,
					     "struct chi_runtime_opts has fields that this library does not know");
	memcpy(ret_opts, opts, opts->size < sizeof(*ret_opts) ? opts->size : sizeof(*ret_opts));
	return 0;
}

static void init_stop(struct chi_runtime *runtime)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&runtime->stop_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&runtime->stop_asked, &attr);
	pthread_condattr_destroy(&attr);
}

/* A start that failed when all was running already; the cause stays the thread's text. */
static int take_back(struct chi_runtime *runtime, int error)
{
	char cause[512];

	snprintf(cause, sizeof(cause), "%s", chi_error_text());
	chi_runtime_stop(runtime, 0, NULL);
	return chi_error_set(error, "%s", cause);
}

int chi_runtime_start(const struct chi_runtime_opts *caller_opts, struct chi_runtime **ret_runtime)
{
	struct chi_config_layers layers;
	struct chi_runtime_opts opts;
	struct chi_runtime *runtime;
	int ret = chi_runtime_check_opts(caller_opts, &opts);

	if (ret < 0)
		return ret;
	runtime = calloc(1, sizeof(*runtime));
	if (!runtime)
		return chi_error_set(-ENOMEM, "no memory for a runtime");
	init_stop(runtime);
	runtime->generation = make_generation();
	runtime->spinning_max = spinning_max();
	hshm_store_relaxed(&runtime->n_cancels, 1); /* relaxed: nobody runs yet */
	runtime->inner = (struct chi_client){ .magic = CHI_CLIENT_MAGIC, .ops = &chi_inner_client_ops };
	runtime->log_beside_socket = opts.log_beside_socket;
	layers = chi_runtime_layers(&opts);
	ret = chi_config_load(&layers, &runtime->config, NULL);
	if (ret < 0)
		goto free_runtime;
	ret = chi_config_layers_copy(&layers, &runtime->layers);
	if (ret == 0)
		ret = chi_runtime_open_log(runtime);
	if (ret < 0)
		goto free_runtime;
	ret = make_segments(runtime);
	if (ret == 0)
		ret = chi_ipc_create(runtime, opts.listen, &runtime->ipc); /* first of all that others see: the name */
	if (ret == 0)
		ret = chi_counter_page_create(runtime, chi_work_orch_workers_for(&runtime->config),
					      chi_ipc_listener(runtime->ipc), &runtime->counters);
	if (ret == 0)
		ret = chi_work_orch_create(runtime, &runtime->orch);
	if (ret == 0)
		ret = make_pools(runtime);
	if (ret < 0)
		goto free_runtime;
	chi_runtime_main_header(runtime)->n_workers = chi_work_orch_n_workers(runtime->orch);
	/* release: all of the header first; pairs with the acquire in the client's attach */
	hshm_store_release(&chi_runtime_main_header(runtime)->layout_version, CHI_LAYOUT_VERSION);
	ret = opts.handle_faults ? chi_fault_install() : 0;
	if (ret < 0) {
		chi_error_set(ret, "cannot handle faults: %s", strerror(-ret));
		goto free_runtime;
	}
	runtime->handles_faults = opts.handle_faults;
	ret = chi_work_orch_start(runtime->orch);
	if (ret == 0)
		ret = chi_ipc_start(runtime->ipc);
	if (ret < 0)
		goto stop_workers;
	ret = chi_compose_pools(runtime);
	if (ret == 0)
		ret = chi_ipc_let_in(runtime->ipc);
	if (ret < 0)
		return take_back(runtime, ret);
	if (opts.listen)
		chi_log_info("runtime '%s' serves at %s: %u workers", runtime->config.name, chi_runtime_socket(runtime),
			     chi_work_orch_n_workers(runtime->orch));
	*ret_runtime = runtime;
	return 0;

stop_workers:
	chi_work_orch_stop(runtime->orch, HSHM_FOREVER);
	if (runtime->handles_faults)
		chi_fault_uninstall();
free_runtime:
	free_runtime(runtime);
	return ret;
}

int chi_runtime_client(struct chi_runtime *runtime, const struct chi_client_opts *opts, struct chi_client **ret_client)
{
	int socket;
	int ret = chi_ipc_connect_local(runtime->ipc, &socket);

	return ret < 0 ? ret : chi_client_open_socket(socket, opts, ret_client);
}

/* ---- stop ---- */

/* Returns the number of tasks that had not ended by the deadline. */
static uint64_t drain(struct chi_runtime *runtime, uint64_t timeout_ns)
{
	uint64_t deadline_ns = hshm_deadline_ns(timeout_ns);

	/* relaxed: whoever slips in is counted in flight and drained with the rest */
	hshm_store_relaxed(&runtime->draining, 1);
	chi_work_orch_expire_periodic(runtime->orch);
	for (;;) {
		uint64_t n_left = chi_pool_count_in_flight(runtime->pools);

		if (n_left == 0 || hshm_clock_ns() >= deadline_ns)
			return n_left;
		HSHM_THREAD_MODEL->sleep_for_us(DRAIN_CHECK_NS / HSHM_NSEC_PER_USEC);
	}
}

/* A worker may use all of it at any time, so all of it stays. */
static void abandon(struct chi_runtime *runtime)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct chi_runtime *abandoned; /* for debuggers, and leak checkers */

	chi_ipc_abandon(runtime->ipc);
	chi_counter_page_remove_file(runtime->counters);
	pthread_mutex_lock(&lock);
	runtime->next_abandoned = abandoned;
	abandoned = runtime;
	pthread_mutex_unlock(&lock);
}

int chi_runtime_stop(struct chi_runtime *runtime, uint64_t timeout_ns, uint64_t *ret_n_given_up)
{
	uint64_t n_given_up;
	uint32_t n_stuck;
	bool handles_faults;

	if (ret_n_given_up)
		*ret_n_given_up = 0;
	if (!runtime)
		return 0;
	if (timeout_ns == 0)
		timeout_ns = runtime->config.stop_timeout_ns;
	chi_ipc_let_nobody_in(runtime->ipc);
	chi_counter_page_stopping(runtime->counters);
	n_given_up = drain(runtime, timeout_ns);
	/* the modules' destroy() */
	if (n_given_up == 0 && chi_pool_end_all(runtime->pools, hshm_deadline_ns(timeout_ns + STOP_GRACE_NS)) < 0)
		n_given_up = 1;
	n_stuck = chi_work_orch_stop(runtime->orch, hshm_deadline_ns(STOP_GRACE_NS));
	if (n_given_up || n_stuck)
		chi_given_up_log(runtime, n_given_up);
	/* relaxed: who reads it has seen our hang-up, a system call later */
	hshm_store_relaxed(&chi_runtime_main_header(runtime)->n_given_up, n_given_up);
	if (ret_n_given_up)
		*ret_n_given_up = n_given_up;
	if (n_stuck) {
		abandon(runtime);
		return chi_error_set(-EBUSY, "%u workers are in a method that does not return: see the log", n_stuck);
	}
	handles_faults = runtime->handles_faults;
	free_runtime(runtime);
	if (handles_faults)
		chi_fault_uninstall();
	return n_given_up ? -ETIMEDOUT : 0;
}

void chi_runtime_request_stop(struct chi_runtime *runtime)
{
	pthread_mutex_lock(&runtime->stop_lock);
	hshm_store_relaxed(&runtime->stop_requested, 1); /* relaxed: a flag without data */
	pthread_cond_broadcast(&runtime->stop_asked);
	pthread_mutex_unlock(&runtime->stop_lock);
}

bool chi_runtime_stop_requested(const struct chi_runtime *runtime)
{
	return hshm_load_relaxed(&runtime->stop_requested) != 0; /* relaxed: a flag without data */
}

int chi_runtime_wait_stop(struct chi_runtime *runtime, uint64_t timeout_ns)
{
	uint64_t deadline_ns = hshm_deadline_ns(timeout_ns);
	struct timespec deadline = { (time_t)(deadline_ns / HSHM_NSEC_PER_SEC),
				     (long)(deadline_ns % HSHM_NSEC_PER_SEC) };
	int ret = 0;

	pthread_mutex_lock(&runtime->stop_lock);
	while (ret == 0 && !chi_runtime_stop_requested(runtime))
		ret = deadline_ns == HSHM_FOREVER
			      ? pthread_cond_wait(&runtime->stop_asked, &runtime->stop_lock)
			      : pthread_cond_timedwait(&runtime->stop_asked, &runtime->stop_lock, &deadline);
	pthread_mutex_unlock(&runtime->stop_lock);
	return -ret;
}
