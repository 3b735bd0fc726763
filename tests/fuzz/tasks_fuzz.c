/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tasks_fuzz.c - what a client can write: task headers, buffers, references, slots, tails, words
 *
 * A decoder makes a program of the input's bytes, in the segment of a client that speaks the socket by hand: put a task in
 * good order somewhere, change a field of it or any bytes, enqueue a reference, write a slot, a tail, a parking word, the
 * words of announced ends, ring, wait until the worker has nothing of ours any more, cancel. The runtime and an honest client
 * are those of all inputs, the segment is new for each.
 *
 * Held up: nothing crashes; the honest client's tasks and bytes are right; another client is served in the middle of it; once
 * the client has left, nothing of it is left.
 */
#include "fuzz.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chimaera/modules/blob.h>

#include "modules/echo.h"
#include "runtime/pool_manager.h"
#include "stage.h"
#include "task/handshake.h"

#define LANES	     2u
#define DEPTH	     16u
#define PAGES	     8u /* of the heap: a task in each */
#define OPS_MAX	     64u
#define N_CONTAINERS 3u
#define QUIET_NS     (2 * HSHM_NSEC_PER_MSEC) /* some tasks never end by themselves */
#define CANARY_BYTES 4096u
#define POOLS_MAX    (2 * OPS_MAX + 2) /* with each blob may come a compress */
#define PARAMS_AT    1024u	       /* in a page: behind its task */

static struct fuzz_stage stage;
static uint32_t pool;
static unsigned char *canary; /* in the honest client's segment */

struct raw {
	int socket;
	struct chi_welcome welcome;
	int fds[CHI_WELCOME_FDS];
	int event_fd; /* -1: not open */
	char *main, *segment;
	uint64_t heap; /* offset */
	struct chi_session *session;
	struct hipc_mpsc_queue rings[LANES * CHI_PRIOS];
	int bells[LANES * CHI_PRIOS]; /* -1: not open */
	const hshm_au32 *armed[LANES * CHI_PRIOS];
};

/* ---- a client by hand ---- */

static void attach(struct raw *raw)
{
	const struct chi_hello hello = { CHI_MESSAGE_HELLO, CHI_HELLO_MAGIC, CHI_LAYOUT_VERSION, CHI_ABI_VERSION };
	struct hipc_multi_mpsc_queue queue;
	union chi_message answer;
	int fds[HSHM_FDS_MAX];
	uint32_t n_fds;

	raw->socket = fuzz_dial(&stage, false);
	fuzz_check(hshm_fds_send(raw->socket, &hello, sizeof(hello), NULL, 0) == sizeof(hello));
	fuzz_check(fuzz_receive(raw->socket, &answer, fds, &n_fds) == sizeof(answer.welcome) &&
		   n_fds == CHI_WELCOME_FDS);
	raw->welcome = answer.welcome;
	raw->event_fd = -1;
	memcpy(raw->fds, fds, sizeof(raw->fds));
	raw->main = mmap(NULL, raw->welcome.main_bytes, PROT_READ, MAP_SHARED, fds[0], 0);
	raw->segment = mmap(NULL, raw->welcome.client_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	fuzz_check(raw->main != MAP_FAILED && raw->segment != MAP_FAILED);
	raw->heap = chi_client_heap_offset(LANES, DEPTH);
	raw->session = &stage.runtime->ipc->slots[raw->welcome.client_id - 1]->base;
	fuzz_check(hipc_multi_mpsc_queue_attach(raw->segment + chi_client_queue_offset(LANES), LANES, CHI_PRIOS, DEPTH,
						sizeof(struct chi_lane_header), &queue) == 0);
	for (uint32_t i = 0; i < LANES * CHI_PRIOS; i++) {
		raw->rings[i] = hipc_multi_mpsc_queue_lane(&queue, i / CHI_PRIOS, i % CHI_PRIOS);
		raw->bells[i] = -1;
	}
}

static void open_lane(struct raw *raw, uint32_t index)
{
	const struct chi_lane_open request = { CHI_MESSAGE_LANE_OPEN, 1, index / CHI_PRIOS, index % CHI_PRIOS };
	union chi_message answer;
	int fds[HSHM_FDS_MAX];
	uint32_t n_fds;

	if (raw->bells[index] >= 0)
		return;
	fuzz_check(hshm_fds_send(raw->socket, &request, sizeof(request), NULL, 0) == sizeof(request));
	fuzz_check(fuzz_receive(raw->socket, &answer, fds, &n_fds) == sizeof(answer.lane_opened) && n_fds == 1);
	raw->bells[index] = fds[0];
	raw->armed[index] = (const hshm_au32 *)(raw->main + chi_main_armed_offset(answer.lane_opened.armed_index));
}

static void open_events(struct raw *raw)
{
	const struct chi_events_open request = { CHI_MESSAGE_EVENTS_OPEN, 1 };
	union chi_message answer;
	int fds[HSHM_FDS_MAX];
	uint32_t n_fds;

	if (raw->event_fd >= 0)
		return;
	fuzz_check(hshm_fds_send(raw->socket, &request, sizeof(request), NULL, 0) == sizeof(request));
	fuzz_check(fuzz_receive(raw->socket, &answer, fds, &n_fds) == sizeof(answer.events_opened) && n_fds == 1);
	raw->event_fd = fds[0];
}

static void detach(struct raw *raw)
{
	for (uint32_t i = 0; i < LANES * CHI_PRIOS; i++)
		if (raw->bells[i] >= 0)
			close(raw->bells[i]);
	for (uint32_t i = 0; i < CHI_WELCOME_FDS; i++)
		close(raw->fds[i]);
	if (raw->event_fd >= 0)
		close(raw->event_fd);
	close(raw->socket);
	munmap(raw->main, raw->welcome.main_bytes);
	munmap(raw->segment, raw->welcome.client_bytes);
}

static void ring(struct raw *raw, uint32_t lane)
{
	/* as in task_queue.c: the push before, the look at `armed` after */
	hshm_fence_seq_cst();
	if (hshm_load_relaxed(raw->armed[lane]))
		(void)eventfd_write(raw->bells[lane], 1);
}

/* Armed, and no run context: the worker has nothing to do for us. */
static void wait_quiet(struct raw *raw)
{
	uint64_t end_ns = hshm_deadline_ns(QUIET_NS);
	bool quiet;

	do {
		quiet = chi_session_n_contexts(raw->session) == 0;
		for (uint32_t i = 0; i < LANES * CHI_PRIOS; i++)
			quiet &= raw->bells[i] < 0 || hshm_load_relaxed(raw->armed[i]);
		if (!quiet)
			fuzz_pause();
	} while (!quiet && hshm_clock_ns() < end_ns);
}

/* ---- what it writes ---- */

static char *page_at(const struct raw *raw, uint32_t page)
{
	return raw->segment + raw->heap + (uint64_t)(page % PAGES) * CHI_PAGE;
}

static uint64_t odd_number(struct fuzz_input *input)
{
	static const uint64_t odd[] = {
		0,
		1,
		2,
		3,
		4,
		5,
		6,
		7,
		64,
		127,
		128,
		192,
		4095,
		4096,
		4097,
		UINT16_MAX,
		INT32_MAX,
		UINT32_MAX,
		UINT64_MAX,
		INT64_MAX,
		UINT64_C(1) << 63,
		1000000,
		8192,
		0xffffff80,
		16384,
		UINT64_C(1) << 48,
		UINT64_C(1) << 32,
		176,
	};
	uint8_t kind = fuzz_u8(input);

	if (kind < 128)
		return odd[kind % (sizeof(odd) / sizeof(odd[0]))];
	return kind < 192 ? fuzz_u16(input) : fuzz_u64(input);
}

static struct chi_domain_query some_query(struct fuzz_input *input)
{
	uint8_t kind = fuzz_u8(input);

	return (struct chi_domain_query){ .kind = 1 + kind % 6, .value = kind / 6 % 8 };
}

/* A task in good order; its buffers lie behind it. */
static void write_task(struct fuzz_input *input, struct raw *raw)
{
	uint8_t page = fuzz_u8(input), how = fuzz_u8(input);
	struct echo_task *task = (struct echo_task *)page_at(raw, page);
	uint32_t segment_id = raw->welcome.client_segment_id;
	uint64_t at = raw->heap + (uint64_t)(page % PAGES) * CHI_PAGE;

	chi_task_init(&task->task, sizeof(*task), pool, some_query(input), how % ECHO_METHODS);
	task->in = how / ECHO_METHODS;
	for (uint32_t i = 0; i < 2; i++)
		task->buffers[i] = (struct chi_buffer){ .ptr = hipc_ptr_make(segment_id, at + 1024 + 1024 * i),
							.size_bytes = 1024,
							.flags = i ? CHI_BUFFER_OUT : CHI_BUFFER_IN };
	task->out = 0;
}

/* Parameters for create(): none, bytes of the input of any number, blob's with some word changed, or where it cannot lie. */
static void write_params(struct fuzz_input *input, struct raw *raw, uint32_t page, struct chi_buffer *ret_params)
{
	uint64_t at = raw->heap + (uint64_t)(page % PAGES) * CHI_PAGE + PARAMS_AT;
	struct chi_blob_params params = { .size = sizeof(params) };
	char *place = raw->segment + at;
	uint8_t how = fuzz_u8(input), more;
	uint64_t size = how / 4;

	*ret_params = (struct chi_buffer){ .ptr = hipc_ptr_make(raw->welcome.client_segment_id, at),
					   .flags = CHI_BUFFER_IN };
	switch (how % 4) {
	case 0:
		return;
	case 1:
		fuzz_bytes(input, place, size);
		break;
	case 2:
		memcpy(place, &params, sizeof(params));
		((uint32_t *)(void *)place)[size % (sizeof(params) / 4)] = (uint32_t)odd_number(input);
		more = fuzz_u8(input);
		size = sizeof(params) + (more < 192 ? 0 : 1 + more % 16);
		memset(place + sizeof(params), more & 32 ? 1 : 0, size - sizeof(params));
		break;
	default:
		size = odd_number(input);
		ret_params->ptr.word += odd_number(input);
	}
	ret_params->size_bytes = size;
}

/* For admin, whose tasks are longer: list, flush, create with names that no module has, and some that one has. */
static void write_admin_task(struct fuzz_input *input, struct raw *raw)
{
	static const char *const modules[] = { "echo", "blob", "compress", "admin", "../echo", "" };
	uint8_t number = fuzz_u8(input);
	char *page = page_at(raw, number);
	struct chi_admin_create_pool_task *create = (void *)page;
	struct chi_admin_list_pools_task *list = (void *)page;
	uint8_t how = fuzz_u8(input), module;

	memset(page, 0, 1024);
	switch (how % 3) {
	case 0:
		chi_task_init(&create->task, sizeof(*create), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0),
			      CHI_ADMIN_CREATE_POOL);
		fuzz_bytes(input, create->module.text, how / 3 % 64);
		fuzz_bytes(input, create->name.text, how / 3 % 64);
		module = fuzz_u8(input);
		if (how & 64)
			strcpy(create->module.text, modules[module % (sizeof(modules) / sizeof(modules[0]))]);
		create->n_containers = (uint32_t)odd_number(input);
		create->open_existing = how >> 7;
		write_params(input, raw, number, &create->params);
		break;
	case 1:
		chi_task_init(&list->task, sizeof(*list), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0),
			      CHI_ADMIN_LIST_POOLS);
		list->pools = (struct chi_buffer){ .ptr = hipc_ptr_make(raw->welcome.client_segment_id,
									raw->heap + odd_number(input)),
						   .size_bytes = odd_number(input),
						   .flags = CHI_BUFFER_OUT };
		break;
	default:
		chi_task_init((struct chi_task *)page, sizeof(struct chi_admin_simple_task), CHI_ADMIN_POOL_ID,
			      CHI_QUERY_LOCAL_ID(0), CHI_ADMIN_FLUSH);
	}
}

static void change_field(struct fuzz_input *input, struct raw *raw)
{
	struct echo_task *task = (struct echo_task *)page_at(raw, fuzz_u8(input));
	uint8_t field = fuzz_u8(input);
	uint64_t value = odd_number(input);
	struct chi_buffer *buffer = &task->buffers[field / 16 % 2];

	switch (field % 16) {
	case 0:
		task->task.version = (uint16_t)value;
		break;
	case 1:
	case 2:
		task->task.flags = field & 128 ? (uint16_t)value : (uint16_t)(value & CHI_TASK_FLAGS_KNOWN);
		break;
	case 3:
		task->task.size_bytes = (uint32_t)value;
		break;
	case 4:
		task->task.pool_id = (uint32_t)value;
		break;
	case 5:
		task->task.method_id = (uint32_t)value;
		break;
	case 6:
		task->task.query.kind = (uint32_t)value;
		break;
	case 7:
		task->task.query.value = value;
		break;
	case 8:
		task->task.period_ns = value;
		break;
	case 9:
		task->task.deadline_us = (uint32_t)value;
		break;
	case 10:
		hshm_store_relaxed(field & 128 ? &task->task.completion : &task->task.sleeper, value);
		break;
	case 11:
		hshm_store_relaxed(&task->task.cancel, (uint32_t)value);
		break;
	case 12:
		buffer->ptr = hipc_ptr_make(raw->welcome.client_segment_id, value);
		break;
	case 13:
		buffer->ptr.word = value;
		break;
	case 14:
		buffer->size_bytes = value;
		break;
	default:
		buffer->flags = (uint32_t)value;
	}
}

static void write_bytes(struct fuzz_input *input, struct raw *raw)
{
	char *page = page_at(raw, fuzz_u8(input));
	uint16_t at = fuzz_u16(input) % 512;

	fuzz_bytes(input, page + at, 1 + fuzz_u8(input) % 16);
}

/* Anywhere below the heap: header, words, rings. */
static void write_queue_bytes(struct fuzz_input *input, struct raw *raw)
{
	uint64_t at = fuzz_u32(input) % raw->heap & ~UINT64_C(7);

	fuzz_bytes(input, raw->segment + at, 8);
}

static uint32_t some_ref(struct fuzz_input *input, const struct raw *raw)
{
	uint8_t what = fuzz_u8(input);

	if (what < 192)
		return (uint32_t)((raw->heap + (uint64_t)(what % PAGES) * CHI_PAGE) / HIPC_REF_UNIT);
	return what < 224 ? (uint32_t)(odd_number(input))
			  : (uint32_t)(fuzz_u16(input) % (raw->welcome.client_bytes / HIPC_REF_UNIT));
}

static void enqueue(struct fuzz_input *input, struct raw *raw, uint32_t lane)
{
	uint32_t ref = some_ref(input, raw);

	if (ref) /* 0 is no reference */
		(void)!hipc_mpsc_enqueue(&raw->rings[lane], ref);
	ring(raw, lane);
}

static void write_slot(struct fuzz_input *input, struct raw *raw, uint32_t lane)
{
	uint8_t slot = fuzz_u8(input) % DEPTH;
	uint64_t lap = fuzz_u8(input) % 4;
	uint32_t ref = some_ref(input, raw);

	hshm_store_relaxed(&raw->rings[lane].slots[slot], lap == 3 ? odd_number(input) : lap << 32 | ref);
}

static void write_words(struct fuzz_input *input, struct raw *raw, uint32_t lane)
{
	struct chi_client_events *events = (struct chi_client_events *)(raw->segment + CHI_CLIENT_EVENTS_OFFSET);
	uint8_t what = fuzz_u8(input);
	uint64_t value = odd_number(input);

	switch (what % 4) {
	case 0:
		hshm_store_relaxed(&events->ended, (uint32_t)value);
		break;
	case 1:
		hshm_store_relaxed(&events->armed, (uint32_t)value);
		break;
	case 2:
		hshm_store_relaxed(raw->rings[lane].tail, value);
		break;
	default:
		hshm_store_relaxed((hshm_au32 *)(raw->segment + chi_client_park_offset(what / 4 % LANES)),
				   (uint32_t)value);
	}
}

/* Meanwhile another client, with a ring as it should be, is served. */
static void call(void)
{
	struct echo_task *task;
	struct raw own;

	attach(&own);
	open_lane(&own, 0);
	task = (struct echo_task *)page_at(&own, 0);
	chi_task_init(&task->task, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(1), ECHO_ADD);
	task->in = 41;
	fuzz_check(hipc_mpsc_enqueue(&own.rings[0], (uint32_t)(own.heap / HIPC_REF_UNIT)) == 0);
	ring(&own, 0);
	fuzz_await(chi_task_done(task));
	fuzz_check(task->task.result == 0 && task->out == 42);
	detach(&own);
}

/* ---- one input ---- */

static void step(struct fuzz_input *input, struct raw *raw)
{
	uint8_t op = fuzz_u8(input);
	uint32_t lane = op / 16 % 8 < 4 ? 0 : op / 16 % 4;

	open_lane(raw, lane);
	switch (op % 16) {
	case 0:
	case 1:
		write_task(input, raw);
		break;
	case 2:
	case 3:
		change_field(input, raw);
		break;
	case 4:
		write_bytes(input, raw);
		break;
	case 5:
	case 6:
	case 7:
		enqueue(input, raw, lane);
		break;
	case 8:
		write_slot(input, raw, lane);
		break;
	case 9:
		write_words(input, raw, lane);
		break;
	case 10:
		write_queue_bytes(input, raw);
		break;
	case 11:
		(void)eventfd_write(raw->bells[lane], 1);
		break;
	case 12:
	case 13:
		wait_quiet(raw);
		break;
	case 14:
		if (op & 16)
			open_events(raw);
		else
			write_admin_task(input, raw);
		break;
	default:
		if (op == 255)
			call();
		else
			write_task(input, raw);
	}
}

/* Pools that the input had made, or the one it ended. */
static void put_pools_right(void)
{
	static struct chi_pool_info pools[POOLS_MAX];
	struct chi_pool_spec spec = { .module = "echo", .n_containers = N_CONTAINERS };
	uint32_t n = chi_pool_list_all(stage.runtime->pools, pools, POOLS_MAX);

	if (n == 2 && pools[1].pool_id == pool)
		return;
	for (uint32_t i = 0; i < n && i < POOLS_MAX; i++)
		if (pools[i].pool_id != CHI_ADMIN_POOL_ID && pools[i].pool_id != pool)
			(void)!chi_pool_destroy(stage.honest, pools[i].pool_id);
	fuzz_check(chi_pool_create(stage.honest, &spec, &pool) >= 0);
}

static void check_honest_client(void)
{
	static uint64_t n_calls;
	struct echo_task *task;

	fuzz_check(chi_task_alloc(stage.honest, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(n_calls), ECHO_ADD, &task) ==
		   0);
	task->in = ++n_calls;
	fuzz_check(chi_call(stage.honest, task) == 0 && task->out == n_calls + 1);
	chi_task_free(stage.honest, task);
	for (uint32_t i = 0; i < CANARY_BYTES; i++)
		if (canary[i] != (unsigned char)(i * 7))
			fuzz_fail("byte %u of the honest client's memory was written", i);
}

/* An input's pools end; what was loaded for them has to stay, for libFuzzer goes on to read its counters. */
static void keep_modules(void)
{
	static const char *const names[] = { "echo", "blob", "compress" };
	char folders[8192], path[8300], *rest = folders;

	snprintf(folders, sizeof(folders), "%s", getenv("CHI_REPO_PATH"));
	for (const char *folder; (folder = strsep(&rest, ":"));)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			snprintf(path, sizeof(path), "%s/chimaera_%s.so", folder, names[i]);
			(void)dlopen(path, RTLD_NOW | RTLD_NODELETE);
		}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_init();
	fuzz_stage_start(&stage, "log_level: error\nworkers: { count: 1, spin_us: 10 }\nmemory: { private_mib: 64 }\n"
				 "clients: { max: 8, memory_mib: 1, lanes: 2, lane_depth: 16, contexts: 8 }\n"
				 "fibers: { max: 64 }\n");
	keep_modules();
	put_pools_right();
	fuzz_check(chi_alloc(stage.honest, CANARY_BYTES, &canary) == 0);
	for (uint32_t i = 0; i < CANARY_BYTES; i++)
		canary[i] = (unsigned char)(i * 7);
	check_honest_client();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	struct raw raw;

	fuzz_stage_note(&stage);
	attach(&raw);
	for (uint32_t i = 0; i < OPS_MAX && input.left; i++)
		step(&input, &raw);
	detach(&raw);
	fuzz_stage_check(&stage);
	put_pools_right();
	check_honest_client();
	return 0;
}
