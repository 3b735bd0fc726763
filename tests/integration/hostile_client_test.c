/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hostile_client_test.c - clients that speak the socket and write their segment themselves, and write rubbish
 *
 * One runtime serves all cases. In it an honest client calls without a pause; after each case it must have gone on and have
 * got only right answers, and nothing of the hostile ones may be left: no descriptor, no mapping.
 * Processes that are to die are this program again, with a role as its argument: real processes, real SIGKILL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <chimaera/module.h>
#include <chimaera/runtime.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hshm/clock.h>
#include <hshm/segment.h>
#include <limits.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/task/handshake.h"
#include "../../src/task/segment_layout.h"
#include "../modules/probe.h"
#include "../support/skip.h"

#define N_CONTAINERS  4u
#define CONTEXTS_MAX  64
#define DEADLINE_NS   (10 * HSHM_NSEC_PER_SEC)
#define RUNTIME_NAME  "hostile"
#define MORTAL_NAME   "mortal"
#define TOLD_SOON_NS  (100 * HSHM_NSEC_PER_MSEC) /* as promised */
#define TOLD_NEVER_NS (2 * HSHM_NSEC_PER_SEC)
#define TOLD_TRIES    4u

extern char **environ;

/* Who writes what another thread of this process reads is a race, and that is the point. */
#if defined(__SANITIZE_THREAD__)
#define skip_under_tsan() skip_because("a race by design: not for TSan")
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define skip_under_tsan() skip_because("a race by design: not for TSan")
#endif
#endif
#ifndef skip_under_tsan
#define skip_under_tsan() ((void)0)
#endif

/* ---- the runtime and the honest client ---- */

static struct stage {
	struct chi_runtime *runtime;
	struct chi_client *observer; /* the main thread's */
	uint32_t pool;
	struct chi_client *honest;
	pthread_t thread;
	hshm_au32 end;
	hshm_au64 n_right;
	hshm_au64 n_wrong;
	uint64_t n_right_before; /* the case */
	uint32_t n_fds_before;
	uint32_t n_maps_before;
} stage;

static const char config_text[] = "log_level: error\n"
				  "workers: { count: 2 }\n"
				  "memory: { private_mib: 256 }\n"
				  "clients: { memory_mib: 8, lanes: 4, lane_depth: 128, contexts: 64 }\n";

static void *call_all_the_time(void *arg)
{
	struct probe_task *task;

	(void)arg;
	if (chi_task_alloc(stage.honest, sizeof(*task), stage.pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &task) < 0) {
		hshm_fetch_add_relaxed(&stage.n_wrong, 1);
		return NULL;
	}
	/* relaxed, here and below: counts and a flag, nothing else is read by them */
	for (uint64_t i = 0; !hshm_load_relaxed(&stage.end); i++) {
		task->task.query = CHI_QUERY_LOCAL_HASH(i);
		task->in = i;
		if (chi_call(stage.honest, task) == 0 && task->out == i + 1 && task->out2 == i % N_CONTAINERS)
			hshm_fetch_add_relaxed(&stage.n_right, 1);
		else
			hshm_fetch_add_relaxed(&stage.n_wrong, 1);
	}
	chi_task_free(stage.honest, task);
	return NULL;
}

static int start_stage(void **state)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.handle_faults = true, .listen = true, .name = RUNTIME_NAME,
							.config_text = config_text);
	struct chi_client_opts hybrid = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID);
	struct chi_pool_spec spec = { .module = "probe", .n_containers = N_CONTAINERS };

	(void)state;
	if (chi_runtime_start(&opts, &stage.runtime) < 0 ||
	    chi_runtime_client(stage.runtime, NULL, &stage.observer) < 0 ||
	    chi_runtime_client(stage.runtime, &hybrid, &stage.honest) < 0 ||
	    chi_pool_create(stage.observer, &spec, &stage.pool) < 0) {
		print_error("start: %s\n", chi_error_text());
		return -1;
	}
	return pthread_create(&stage.thread, NULL, call_all_the_time, NULL);
}

static int end_stage(void **state)
{
	uint64_t n_given_up = 0;
	int ret;

	(void)state;
	hshm_store_relaxed(&stage.end, 1);
	pthread_join(stage.thread, NULL);
	chi_client_disconnect(stage.honest);
	chi_client_disconnect(stage.observer);
	ret = chi_runtime_stop(stage.runtime, 5 * HSHM_NSEC_PER_SEC, &n_given_up);
	print_message("honest calls: %llu right, %llu wrong; stop: %d, %llu given up\n",
		      (unsigned long long)hshm_load_relaxed(&stage.n_right),
		      (unsigned long long)hshm_load_relaxed(&stage.n_wrong), ret, (unsigned long long)n_given_up);
	return ret || n_given_up || hshm_load_relaxed(&stage.n_wrong) ? -1 : 0;
}

/* ---- what is left of a client ---- */

static uint32_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	uint32_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static uint32_t count_client_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	uint32_t n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, "memfd:chimaera-client") != NULL;
	fclose(file);
	return n;
}

/* The deadline is only for a broken runtime: each of these is an event that comes. Without it the other cases, and the stop,
 * would wait in vain, too. */
#define await(condition)                                                              \
	do {                                                                          \
		uint64_t deadline_ns_ = hshm_deadline_ns(DEADLINE_NS);                \
		while (!(condition)) {                                                \
			if (hshm_clock_ns() > deadline_ns_) {                         \
				print_error("%s: never: %s\n", __func__, #condition); \
				_exit(1);                                             \
			}                                                             \
			usleep(200);                                                  \
		}                                                                     \
	} while (0)

static int before_case(void **state)
{
	(void)state;
	stage.n_right_before = hshm_load_relaxed(&stage.n_right);
	await(hshm_load_relaxed(&stage.n_right) > stage.n_right_before); /* its lane is open */
	stage.n_fds_before = count_fds();
	stage.n_maps_before = count_client_maps();
	return 0;
}

/* Once a case is through: the honest client goes on, and all that the hostile ones had is given back. */
static void check_the_runtime_is_well(void)
{
	uint64_t now = hshm_load_relaxed(&stage.n_right);

	await(hshm_load_relaxed(&stage.n_right) > now + 100);
	assert_int_equal(hshm_load_relaxed(&stage.n_wrong), 0);
	await(count_client_maps() == stage.n_maps_before);
	await(count_fds() == stage.n_fds_before);
}

static uint64_t sum_refused(void)
{
	struct chi_runtime_info *info = malloc(sizeof(*info));
	uint64_t sum = 0;

	assert_non_null(info);
	assert_int_equal(chi_client_runtime_info(stage.observer, info), 0);
	for (uint32_t i = 0; i < info->n_workers; i++)
		sum += hshm_load_relaxed(&info->workers[i].tasks_refused);
	free(info);
	return sum;
}

static uint64_t count_in_flight(void)
{
	struct chi_pool_info pools[8];
	int n = chi_pool_list(stage.observer, pools, 8);

	for (int i = 0; i < n; i++)
		if (pools[i].pool_id == stage.pool)
			return pools[i].n_in_flight;
	fail_msg("the pool is not listed");
	return 0;
}

static void set_gate(uint32_t container, bool open)
{
	struct probe_task *task;

	assert_int_equal(chi_task_alloc(stage.observer, sizeof(*task), stage.pool, CHI_QUERY_LOCAL_ID(container),
					PROBE_GATE_OPEN, &task),
			 0);
	task->in = open;
	assert_int_equal(chi_call(stage.observer, task), 0);
	chi_task_free(stage.observer, task);
}

/* ---- a client by hand ---- */

struct raw {
	int socket;
	struct chi_welcome welcome;
	int main_fd, segment_fd, bell;
	char *main, *segment;
	uint64_t heap; /* offset */
	struct hipc_mpsc_queue ring;
	const hshm_au32 *armed;
};

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/chimaera/" RUNTIME_NAME ".sock",
			 getenv("XDG_RUNTIME_DIR"));

	assert_true(fd >= 0 && n > 0 && (size_t)n < sizeof(address.sun_path));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Returns the message's size, 0: hung up. */
static long receive(int socket, union chi_message *message, int *fds, uint32_t *ret_n_fds)
{
	struct pollfd ready = { .fd = socket, .events = POLLIN };
	uint32_t n_fds = 0;
	long n;

	assert_int_equal(poll(&ready, 1, (int)(DEADLINE_NS / HSHM_NSEC_PER_MSEC)), 1);
	do
		n = hshm_fds_receive(socket, message, sizeof(*message), fds, fds ? CHI_WELCOME_FDS : 0, &n_fds);
	while (n == -ECONNRESET); /* something of ours was unread when it hung up; what it had sent comes after */
	if (ret_n_fds)
		*ret_n_fds = n_fds;
	return n;
}

static void send_bytes(int socket, const void *bytes, size_t n)
{
	assert_int_equal(hshm_fds_send(socket, bytes, n, NULL, 0), n);
}

static void expect_refusal(int socket, int error)
{
	union chi_message answer;

	assert_int_equal(receive(socket, &answer, NULL, NULL), sizeof(answer.refusal));
	assert_int_equal(answer.type, CHI_MESSAGE_REFUSAL);
	assert_int_equal(answer.refusal.error, error);
	assert_true(answer.refusal.text[0] != '\0');
}

static void expect_hang_up(int socket)
{
	union chi_message answer;

	assert_int_equal(receive(socket, &answer, NULL, NULL), 0);
}

static const struct chi_hello hello = {
	.type = CHI_MESSAGE_HELLO,
	.magic = CHI_HELLO_MAGIC,
	.layout_version = CHI_LAYOUT_VERSION,
	.abi_version = CHI_ABI_VERSION,
};

/* A hello with descriptors. Returns whether they went: newer kernels (Linux 6.16) refuse them for the runtime. */
static bool send_fds(int socket, const int *fds, uint32_t n_fds)
{
	long n = hshm_fds_send(socket, &hello, sizeof(hello), fds, n_fds);

	if (n == (long)sizeof(hello))
		return true;
	assert_int_equal(n, -EINVAL);
	assert_int_equal(errno, EPERM);
	return false;
}

static void greet(struct raw *raw)
{
	union chi_message answer;
	uint32_t n_fds;
	int fds[CHI_WELCOME_FDS];

	memset(raw, 0, sizeof(*raw));
	raw->bell = -1;
	raw->socket = dial();
	send_bytes(raw->socket, &hello, sizeof(hello));
	assert_int_equal(receive(raw->socket, &answer, fds, &n_fds), sizeof(answer.welcome));
	assert_int_equal(answer.type, CHI_MESSAGE_WELCOME);
	assert_int_equal(n_fds, CHI_WELCOME_FDS);
	raw->welcome = answer.welcome;
	raw->main_fd = fds[0];
	raw->segment_fd = fds[1];
	close(fds[2]);
	raw->main = mmap(NULL, raw->welcome.main_bytes, PROT_READ, MAP_SHARED, raw->main_fd, 0);
	raw->segment = mmap(NULL, raw->welcome.client_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, raw->segment_fd, 0);
	assert_true(raw->main != MAP_FAILED && raw->segment != MAP_FAILED);
	raw->heap = chi_client_heap_offset(raw->welcome.n_lanes, raw->welcome.lane_depth);
}

static void open_lane(struct raw *raw, uint32_t lane, uint32_t prio)
{
	const struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN, .serial = 7, .lane = lane, .prio = prio };
	struct hipc_multi_mpsc_queue queue;
	union chi_message answer;
	uint32_t n_fds;
	int fds[CHI_WELCOME_FDS];

	send_bytes(raw->socket, &request, sizeof(request));
	assert_int_equal(receive(raw->socket, &answer, fds, &n_fds), sizeof(answer.lane_opened));
	assert_int_equal(answer.type, CHI_MESSAGE_LANE_OPENED);
	assert_int_equal(n_fds, 1);
	assert_int_equal(answer.lane_opened.serial, 7);
	if (raw->bell >= 0)
		close(raw->bell);
	raw->bell = fds[0];
	raw->armed = (const hshm_au32 *)(raw->main + chi_main_armed_offset(answer.lane_opened.armed_index));
	assert_int_equal(hipc_multi_mpsc_queue_attach(raw->segment + chi_client_queue_offset(raw->welcome.n_lanes),
						      raw->welcome.n_lanes, CHI_PRIOS, raw->welcome.lane_depth,
						      sizeof(struct chi_lane_header), &queue),
			 0);
	raw->ring = hipc_multi_mpsc_queue_lane(&queue, lane, prio);
}

static void attach(struct raw *raw)
{
	greet(raw);
	open_lane(raw, 0, CHI_PRIO_LOW_LATENCY);
}

static void detach(struct raw *raw)
{
	munmap(raw->main, raw->welcome.main_bytes);
	munmap(raw->segment, raw->welcome.client_bytes);
	close(raw->main_fd);
	close(raw->segment_fd);
	close(raw->socket);
	if (raw->bell >= 0)
		close(raw->bell);
}

static void ring_bell(const struct raw *raw)
{
	/* as in task_queue.c: the push before, the look at `armed` after */
	hshm_fence_seq_cst();
	if (hshm_load_relaxed(raw->armed))
		assert_int_equal(eventfd_write(raw->bell, 1), 0);
}

static void push(struct raw *raw, uint64_t ref)
{
	assert_int_equal(hipc_mpsc_enqueue(&raw->ring, (uint32_t)ref), 0);
	ring_bell(raw);
}

static uint32_t ref_of(const struct raw *raw, const void *task)
{
	return (uint32_t)((uint64_t)((const char *)task - raw->segment) / HIPC_REF_UNIT);
}

/* A task that would be served, in the n-th page of the heap: the case spoils it. */
static struct probe_task *make_task(struct raw *raw, uint32_t n, uint32_t method, uint32_t container)
{
	struct probe_task *task = (struct probe_task *)(raw->segment + raw->heap + (uint64_t)n * CHI_PAGE);

	chi_task_init(&task->task, sizeof(*task), stage.pool, CHI_QUERY_LOCAL_ID(container), method);
	return task;
}

static int call(struct raw *raw, struct probe_task *task)
{
	push(raw, ref_of(raw, task));
	await(chi_task_done(task));
	return task->task.result;
}

static void expect_service(struct raw *raw)
{
	struct probe_task *task = make_task(raw, 9, PROBE_ADD, 1);

	task->in = 41;
	assert_int_equal(call(raw, task), 0);
	assert_int_equal(task->out, 42);
}

/* ---- what is in the ring ---- */

static void references_outside_the_heap_are_refused(void **state)
{
	struct raw raw;
	uint64_t before = sum_refused(), units, refs[8], n = 0;
	struct probe_task *task;

	(void)state;
	attach(&raw);
	units = raw.welcome.client_bytes / HIPC_REF_UNIT;
	refs[n++] = UINT32_MAX;
	refs[n++] = units;     /* the first byte behind */
	refs[n++] = units - 1; /* the header does not fit */
	refs[n++] = raw.heap / HIPC_REF_UNIT - 1;
	refs[n++] = 1; /* the segment's header */
	refs[n++] = chi_client_park_offset(0) / HIPC_REF_UNIT;
	refs[n++] = chi_client_queue_offset(raw.welcome.n_lanes) / HIPC_REF_UNIT;
	refs[n++] = UINT32_C(1) << 31;
	for (uint64_t i = 0; i < n; i++) {
		push(&raw, refs[i]);
		await(sum_refused() == before + i + 1);
	}
	/* a task in good order over the parking words */
	task = (struct probe_task *)(raw.segment + chi_client_park_offset(0));
	chi_task_init(&task->task, sizeof(*task), stage.pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD);
	push(&raw, ref_of(&raw, task));
	n++;
	await(sum_refused() == before + n);
	expect_service(&raw);
	assert_int_equal(sum_refused(), before + n);
	assert_false(chi_task_done(task));
	detach(&raw);
	check_the_runtime_is_well();
}

static void a_task_in_flight_is_refused_and_the_first_goes_on(void **state)
{
	uint64_t before = sum_refused();
	struct probe_task *task;
	struct raw raw;

	(void)state;
	set_gate(3, false);
	attach(&raw);
	task = make_task(&raw, 0, PROBE_GATE_WAIT, 3);
	push(&raw, ref_of(&raw, task));
	push(&raw, ref_of(&raw, task));
	push(&raw, ref_of(&raw, task));
	await(sum_refused() == before + 2);
	assert_false(chi_task_done(task));
	assert_int_equal(count_in_flight() >= 1, 1);
	expect_service(&raw);
	set_gate(3, true);
	await(chi_task_done(task));
	assert_int_equal(task->task.result, 0);
	/* done: the same memory may come again */
	task = make_task(&raw, 0, PROBE_ADD, 0);
	assert_int_equal(call(&raw, task), 0);
	detach(&raw);
	check_the_runtime_is_well();
}

static void slots_with_rubbish_stop_only_their_own_lane(void **state)
{
	static const uint64_t rubbish[] = { UINT64_MAX, UINT64_C(5) << 32 | 7, UINT64_C(1) << 63, UINT64_C(1) << 32 };
	uint64_t refused;
	struct raw raw;

	(void)state;
	for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
		attach(&raw);
		refused = sum_refused();
		/* not a state of the first lap: the consumer waits there for ever */
		for (uint32_t slot = 0; slot < raw.welcome.lane_depth; slot++)
			hshm_store_relaxed(&raw.ring.slots[slot], rubbish[i]);
		hshm_store_relaxed(raw.ring.tail, rubbish[i]);
		ring_bell(&raw);
		(void)!hipc_mpsc_enqueue(&raw.ring, 77); /* ends, whatever it finds */
		ring_bell(&raw);
		assert_int_equal(sum_refused(), refused);
		/* another lane of the same client is as good as ever */
		open_lane(&raw, 1, CHI_PRIO_LOW_LATENCY);
		expect_service(&raw);
		detach(&raw);
	}
	check_the_runtime_is_well();
}

static void a_ring_that_is_refilled_all_the_time_starves_nobody(void **state)
{
	uint64_t end_ns = hshm_deadline_ns(300 * HSHM_NSEC_PER_MSEC), before = sum_refused(), pos = 0;
	uint64_t honest = hshm_load_relaxed(&stage.n_right);
	struct raw raw;

	(void)state;
	attach(&raw);
	/* ctest ends it */
	while (hshm_clock_ns() < end_ns || hshm_load_relaxed(&stage.n_right) == honest) {
		uint32_t n = raw.welcome.lane_depth;
		hshm_au64 *slot = &raw.ring.slots[pos % n];

		/* written by hand, over whatever is there; the tail is never moved */
		hshm_store_relaxed(slot, (pos / n) << 32 | UINT32_MAX);
		if (++pos % n == 0)
			ring_bell(&raw);
		if (pos == n) /* the consumer takes part before it is lapped and loses the thread */
			await(sum_refused() > before);
		if (pos % n == 0)
			usleep(50);
	}
	detach(&raw);
	check_the_runtime_is_well();
}

/* ---- what is in the task ---- */

static void sizes_that_cannot_be_are_refused(void **state)
{
	static const uint32_t sizes[] = { 0,
					  1,
					  sizeof(struct chi_task) - 1,
					  sizeof(struct chi_task),
					  sizeof(struct probe_task) + 8,
					  CHI_TASK_SIZE_MAX,
					  CHI_TASK_SIZE_MAX + 1,
					  UINT32_MAX };
	struct probe_task *task;
	struct raw raw;

	(void)state;
	attach(&raw);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		task = make_task(&raw, 0, PROBE_ADD, 0);
		task->task.size_bytes = sizes[i];
		assert_int_equal(call(&raw, task), -EMSGSIZE);
	}
	/* the header is the segment's end, the rest would lie behind it */
	task = (struct probe_task *)(raw.segment + raw.welcome.client_bytes - sizeof(struct chi_task));
	chi_task_init(&task->task, sizeof(struct chi_task), stage.pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD);
	task->task.size_bytes = sizeof(struct probe_task);
	assert_int_equal(call(&raw, task), -EFAULT);
	chi_task_init(&task->task, sizeof(struct chi_task), stage.pool, CHI_QUERY_LOCAL_ID(0), PROBE_NOOP);
	assert_int_equal(call(&raw, task), 0);
	expect_service(&raw);
	detach(&raw);
	check_the_runtime_is_well();
}

static void headers_with_rubbish_get_their_errno(void **state)
{
	struct probe_task *task;
	struct raw raw;

#define EXPECT(error, spoil)                               \
	do {                                               \
		task = make_task(&raw, 0, PROBE_ADD, 0);   \
		spoil;                                     \
		assert_int_equal(call(&raw, task), error); \
	} while (0)

	(void)state;
	attach(&raw);
	EXPECT(-EPROTO, task->task.version = 0);
	EXPECT(-EPROTO, task->task.version = UINT16_MAX);
	EXPECT(-EINVAL, task->task.flags = UINT16_MAX & ~CHI_TASK_NOTIFY);
	EXPECT(-EINVAL, task->task.flags = 0x8000);
	EXPECT(-EINVAL, task->task.query.kind = 0);
	EXPECT(-EINVAL, task->task.query.kind = UINT32_MAX);
	EXPECT(-ENOENT, task->task.query.value = UINT64_MAX);
	EXPECT(-ENOENT, task->task.query = CHI_QUERY_GLOBAL_ID(UINT64_MAX));
	EXPECT(-ENOENT, task->task.pool_id = 0);
	EXPECT(-ENOENT, task->task.pool_id = UINT32_MAX);
	EXPECT(-ENOSYS, task->task.method_id = UINT32_MAX);
	EXPECT(-ENOSYS, task->task.method_id = CHI_METHODS_MAX);
	EXPECT(-EINVAL, task->task.flags = CHI_TASK_PERIODIC); /* of period 0 */
	EXPECT(-EINVAL, (task->task.flags = CHI_TASK_PERIODIC, task->task.period_ns = 1,
			 task->task.query = CHI_QUERY_GLOBAL_BCAST()));
	/* what belongs to the runtime or to the submitter is not looked at */
	EXPECT(0, memset(&task->task.id, 0xff, sizeof(task->task.id)));
	EXPECT(0, (task->task.submitter = UINT64_MAX, task->task.deadline_us = UINT32_MAX,
		   task->task.query.reserved = UINT32_MAX));
	EXPECT(0, task->task.order = UINT64_MAX);
	EXPECT(0, memset(task->task.reserved2, 0xff, sizeof(task->task.reserved2)));
	EXPECT(0, task->task.query = CHI_QUERY_LOCAL_HASH(UINT64_MAX));
#undef EXPECT
	detach(&raw);
	check_the_runtime_is_well();
}

static void a_period_of_a_nanosecond_or_of_centuries_harms_nobody(void **state)
{
	static const uint64_t periods[] = { 1, UINT64_MAX };
	struct raw raw;

	(void)state;
	attach(&raw);
	for (uint32_t i = 0; i < 2; i++) {
		struct probe_task *task = make_task(&raw, i, PROBE_ADD, 2);

		task->task.flags = CHI_TASK_PERIODIC;
		task->task.period_ns = periods[i];
		push(&raw, ref_of(&raw, task));
	}
	expect_service(&raw);
	detach(&raw); /* they end with it */
	check_the_runtime_is_well();
}

static void buffers_outside_the_segment_are_refused(void **state)
{
	struct raw raw, other;
	uint64_t size;

	(void)state;
	attach(&raw);
	attach(&other);
	size = raw.welcome.client_bytes;
	const uint32_t mine = raw.welcome.client_segment_id;
	const struct {
		struct hipc_ptr ptr;
		uint64_t size_bytes;
	} bad[] = {
		{ hipc_ptr_make(mine, size), 1 },
		{ hipc_ptr_make(mine, size - 8), 9 },
		{ hipc_ptr_make(mine, raw.heap), size },
		{ hipc_ptr_make(mine, raw.heap), UINT64_MAX },
		{ hipc_ptr_make(mine, raw.heap), UINT64_MAX - raw.heap + 1 }, /* the sum is 0 */
		{ hipc_ptr_make(mine, HIPC_OFFSET_MAX), 8 },
		{ hipc_ptr_make(other.welcome.client_segment_id, other.heap), 8 },
		{ hipc_ptr_make(raw.welcome.main_segment_id, 0), 8 },
		{ hipc_ptr_make(HIPC_SEGMENT_NONE, raw.heap), 8 },
		{ hipc_ptr_make(HIPC_SEGMENT_MAX, raw.heap), 8 },
		{ hipc_ptr_local(&stage), 8 }, /* a good address of the runtime's process */
		{ hipc_ptr_local(raw.segment + raw.heap), 8 },
		{ { 0 }, 8 },
		{ { UINT64_MAX }, UINT64_MAX },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (uint32_t b = 0; b < 2; b++) {
			for (uint32_t bcast = 0; bcast < 2; bcast++) {
				struct probe_task *task = make_task(&raw, 0, bcast ? PROBE_SUM : PROBE_COPY, 0);

				if (bcast)
					task->task.query = CHI_QUERY_GLOBAL_BCAST();
				task->buffers[b].ptr = bad[i].ptr;
				task->buffers[b].size_bytes = bad[i].size_bytes;
				if (call(&raw, task) != -EFAULT)
					fail_msg("buffer %zu: %d", i, task->task.result);
			}
		}
	}
	struct probe_task *task = make_task(&raw, 0, PROBE_COPY, 0);

	task->buffers[0].flags = UINT32_MAX;
	assert_int_equal(call(&raw, task), -EINVAL);
	expect_service(&raw);
	detach(&other);
	detach(&raw);
	check_the_runtime_is_well();
}

static void buffers_over_its_own_queue_harm_only_the_client(void **state)
{
	struct probe_task *task;
	struct raw raw;

	(void)state;
	skip_under_tsan();
	attach(&raw);
	/* rubbish copied by the runtime itself over header, parking words and rings */
	memset(raw.segment + raw.heap + 64 * CHI_PAGE, 0xa5, raw.heap);
	task = make_task(&raw, 0, PROBE_COPY, 0);
	task->buffers[0] = (struct chi_buffer){ hipc_ptr_make(raw.welcome.client_segment_id, raw.heap + 64 * CHI_PAGE),
						raw.heap, CHI_BUFFER_IN, 0 };
	task->buffers[1] = (struct chi_buffer){ hipc_ptr_make(raw.welcome.client_segment_id, 0), raw.heap,
						CHI_BUFFER_OUT, 0 };
	assert_int_equal(call(&raw, task), 0);
	assert_int_equal((unsigned char)raw.segment[raw.heap - 1], 0xa5);
	ring_bell(&raw);
	detach(&raw);
	check_the_runtime_is_well();
}

static void a_parking_word_anywhere_wakes_nobody_else(void **state)
{
	uint32_t refs[5], n = 0;
	struct raw raw;

	(void)state;
	attach(&raw);
	refs[n++] = UINT32_MAX;
	refs[n++] = (uint32_t)(raw.welcome.client_bytes / 4);
	refs[n++] = (uint32_t)(raw.welcome.client_bytes / 4 - 1);
	refs[n++] = 0;
	refs[n++] = (uint32_t)(raw.heap / 4 + 17); /* the upper half of a completion word */
	for (uint32_t i = 0; i < n; i++) {
		struct probe_task *task = make_task(&raw, 0, PROBE_ADD, 0);

		hshm_store_relaxed(&task->task.sleeper, UINT64_C(1) << 32 | refs[i]);
		push(&raw, ref_of(&raw, task));
		await(chi_task_done(task));
	}
	/* the address of a run context, if it were one of the runtime's own tasks: from a client it is a number */
	struct probe_task *task = make_task(&raw, 1, PROBE_ADD, 0);

	hshm_store_relaxed(&task->task.completion, (uint64_t)(uintptr_t)&stage);
	assert_int_equal(call(&raw, task), 0);
	expect_service(&raw);
	detach(&raw);
	check_the_runtime_is_well();
}

#define N_SLEEPERS    150
#define WOKEN_AT_ONCE 64 /* SLEEPERS_WOKEN of run_context.c */

static void *sleep_there(void *word)
{
	syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
	return NULL;
}

/* All who sleep at @from sleep at @to from now on. Returns how many. */
static long move_sleepers(uint32_t *from, uint32_t *to)
{
	return syscall(SYS_futex, from, FUTEX_REQUEUE, 0, INT_MAX, to, 0);
}

static void sleepers_of_one_task_are_woken_in_bounds(void **state)
{
	pthread_t threads[N_SLEEPERS];
	struct probe_task *task;
	uint32_t *word, *aside;
	struct raw raw;

	(void)state;
	attach(&raw);
	word = (uint32_t *)(raw.segment + chi_client_park_offset(0));
	aside = (uint32_t *)(raw.segment + chi_client_park_offset(1));
	for (int i = 0; i < N_SLEEPERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sleep_there, word), 0);
	for (long n = 0; n < N_SLEEPERS;) { /* they are counted as they are moved */
		n = move_sleepers(word, aside);
		assert_true(n >= 0 && move_sleepers(aside, word) == n);
		usleep(200);
	}
	task = make_task(&raw, 0, PROBE_ADD, 0);
	hshm_store_relaxed(&task->task.sleeper, chi_client_park_offset(0) / 4);
	assert_int_equal(call(&raw, task), 0);
	await(hshm_load_relaxed((hshm_au32 *)word) == 1);
	assert_int_equal(call(&raw, make_task(&raw, 1, PROBE_ADD, 0)), 0); /* behind the wake-up, on the same worker */
	assert_int_equal(syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0), N_SLEEPERS - WOKEN_AT_ONCE);
	for (int i = 0; i < N_SLEEPERS; i++)
		pthread_join(threads[i], NULL);
	detach(&raw);
	check_the_runtime_is_well();
}

/* Always about to sleep, by what it writes, and it never reads: each end sends a byte until no more fits. */
static void an_event_channel_that_is_never_read_holds_no_worker(void **state)
{
	struct chi_events_open request = { .type = CHI_MESSAGE_EVENTS_OPEN };
	struct chi_client_events *events;
	union chi_message answer;
	int fds[HSHM_FDS_MAX];
	uint32_t n_fds;
	struct raw raw;

	(void)state;
	attach(&raw);
	events = (struct chi_client_events *)(raw.segment + CHI_CLIENT_EVENTS_OFFSET);
	/* before there is a channel */
	hshm_store_relaxed(&events->armed, 1);
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 3000; i++) {
			struct probe_task *task = make_task(&raw, 0, PROBE_ADD, 0);
			uint32_t rubbish = i * UINT32_C(0x9e3779b9);

			task->task.flags = CHI_TASK_NOTIFY;
			hshm_store_relaxed(&events->ended, rubbish);
			hshm_store_relaxed(&events->armed, i % 2 ? 1 : UINT32_MAX);
			push(&raw, ref_of(&raw, task));
			/* what it found is handed back, and followed by nobody */
			await(hshm_load_acquire(&task->task.completion) ==
			      ((uint64_t)rubbish << 32 | CHI_COMPLETION_LISTED));
			assert_int_equal(hshm_load_relaxed(&events->ended), ref_of(&raw, task));
		}
		/* the same channel, however often it is asked for */
		for (uint32_t serial = 1; serial <= 5; serial++) {
			request.serial = serial;
			send_bytes(raw.socket, &request, sizeof(request));
			n_fds = 0;
			assert_true(receive(raw.socket, &answer, fds, &n_fds) > 0);
			assert_int_equal(answer.type, CHI_MESSAGE_EVENTS_OPENED);
			assert_int_equal(answer.events_opened.serial, serial);
			assert_int_equal(n_fds, 1);
			/* nothing can be sent the other way, descriptors least of all */
			assert_int_equal(send(fds[0], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT), -1);
			close(fds[0]);
		}
	}
	expect_service(&raw);
	detach(&raw);
	check_the_runtime_is_well();
}

static void a_client_gets_no_more_run_contexts_than_its_cap(void **state)
{
	struct probe_task *tasks[CONTEXTS_MAX + 40];
	uint64_t most = 0;
	struct raw raw;

	(void)state;
	set_gate(3, false);
	attach(&raw);
	for (uint32_t i = 0; i < CONTEXTS_MAX + 40; i++) {
		tasks[i] = make_task(&raw, i, PROBE_GATE_WAIT, 3);
		push(&raw, ref_of(&raw, tasks[i]));
	}
	await(count_in_flight() >= CONTEXTS_MAX);
	/* time to take more, if it did: 50 looks, each a task that goes round; the honest client may have one under way */
	for (int i = 0; i < 50; i++) {
		uint64_t now = count_in_flight();

		most = now > most ? now : most;
	}
	assert_in_range(most, CONTEXTS_MAX, CONTEXTS_MAX + 1);
	set_gate(3, true);
	for (uint32_t i = 0; i < CONTEXTS_MAX + 40; i++)
		await(chi_task_done(tasks[i]));
	detach(&raw);
	check_the_runtime_is_well();
}

/* ---- what is on the socket ---- */

static void messages_that_are_none_end_the_connection(void **state)
{
	struct chi_hello bad_magic = hello, old_layout = hello, old_abi = hello;
	static const struct chi_lane_open unexpected = { .type = CHI_MESSAGE_LANE_OPEN };
	static const uint32_t types[] = { 0, CHI_MESSAGE_WELCOME, CHI_MESSAGE_LANE_OPENED, CHI_MESSAGE_REFUSAL,
					  6, UINT32_MAX };
	char bytes[4096];

	(void)state;
	bad_magic.magic = 0;
	old_layout.layout_version++;
	old_abi.abi_version++;
	memset(bytes, 0x5a, sizeof(bytes));
	const struct {
		const void *bytes;
		size_t n;
	} messages[] = {
		{ &hello, 1 },
		{ &hello, 4 },
		{ &hello, sizeof(hello) - 1 },
		{ &bad_magic, sizeof(bad_magic) },
		{ &old_layout, sizeof(old_layout) },
		{ &old_abi, sizeof(old_abi) },
		{ bytes, 16 },
		{ bytes, 256 },
		{ bytes, 257 },
		{ bytes, sizeof(bytes) },
		{ &unexpected, sizeof(unexpected) },
	};

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		int fd = dial();

		send_bytes(fd, messages[i].bytes, messages[i].n);
		expect_refusal(fd, -EPROTO);
		expect_hang_up(fd);
		close(fd);
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		for (int greeted = 0; greeted < 2; greeted++) {
			struct chi_lane_open message = { .type = types[i] };
			struct raw raw = { .bell = -1 };

			if (greeted)
				greet(&raw);
			else
				raw.socket = dial();
			send_bytes(raw.socket, &message, sizeof(message));
			expect_refusal(raw.socket, -EPROTO);
			expect_hang_up(raw.socket);
			if (greeted)
				detach(&raw);
			else
				close(raw.socket);
		}
	}
	check_the_runtime_is_well();
}

static void an_attached_client_that_sends_rubbish_is_ended(void **state)
{
	char bytes[300] = { 0 };

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN };
		struct raw raw;

		greet(&raw);
		if (i == 0)
			send_bytes(raw.socket, &hello, sizeof(hello)); /* once more */
		else if (i == 1)
			send_bytes(raw.socket, bytes, sizeof(bytes));
		else if (i == 2)
			send_bytes(raw.socket, &request, sizeof(request) - 1);
		else if (i == 3)
			request.lane = raw.welcome.n_lanes;
		else if (i == 4)
			request.lane = UINT32_MAX;
		else
			request.prio = CHI_PRIOS;
		if (i >= 3)
			send_bytes(raw.socket, &request, sizeof(request));
		expect_refusal(raw.socket, -EPROTO);
		expect_hang_up(raw.socket);
		detach(&raw);
	}
	check_the_runtime_is_well();
}

static void descriptors_that_nobody_asked_for_are_closed(void **state)
{
	int fds[HSHM_FDS_MAX];

	(void)state;
	for (uint32_t i = 0; i < HSHM_FDS_MAX; i++)
		fds[i] = STDERR_FILENO;
	for (uint32_t n = 1; n <= HSHM_FDS_MAX; n++) {
		int fd = dial();

		if (send_fds(fd, fds, n)) {
			expect_refusal(fd, -EPROTO);
			expect_hang_up(fd);
		}
		close(fd);
	}
	check_the_runtime_is_well(); /* counts them */
}

/* A connection whose last close waits ten minutes, or until @ret_peer is closed. */
static int make_lingering(int *ret_peer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { 1, 600 };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(address);
	static const char bytes[65536];

	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	*ret_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(*ret_peer >= 0);
	close(listener);
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		; /* until no more goes: nobody reads it */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

static void a_descriptor_whose_close_hangs_holds_up_nobody(void **state)
{
	int peers[6], dialled[6];
	struct raw raw;

	(void)state;
	/* some behind rubbish: they stay unread */
	for (int i = 0; i < 6; i++) {
		int fd = make_lingering(&peers[i]);
		int go[2];
		pid_t child;

		dialled[i] = dial();
		if (i % 2)
			send_bytes(dialled[i], &hello, sizeof(hello) - 1);
		/* another process sends it, for an exit never lingers: should the runtime be faster, ours is no last close */
		assert_int_equal(pipe(go), 0);
		child = fork();
		if (child == 0) {
			char byte;

			close(go[1]);
			if (read(go[0], &byte, 1) != 0) /* until we have closed ours */
				_exit(1);
			/* newer kernels refuse */
			_exit(hshm_fds_send(dialled[i], &hello, sizeof(hello), &fd, 1) < 0);
		}
		assert_true(child > 0);
		close(fd);
		close(go[0]);
		close(go[1]);
		assert_int_equal(waitpid(child, NULL, 0), child);
	}
	for (int i = 0; i < 4; i++) {
		greet(&raw);
		open_lane(&raw, 0, CHI_PRIO_LOW_LATENCY);
		detach(&raw);
	}
	for (int i = 0; i < 6; i++)
		close(dialled[i]);
	for (int i = 0; i < 6; i++)
		close(peers[i]); /* with bytes unread: a reset, and the closes go on */
	check_the_runtime_is_well();
}

static void a_lane_opened_twice_is_the_same_lane(void **state)
{
	const hshm_au32 *armed;
	struct raw raw;

	(void)state;
	attach(&raw);
	expect_service(&raw);
	armed = raw.armed;
	for (int i = 0; i < 10; i++) {
		open_lane(&raw, 0, CHI_PRIO_LOW_LATENCY);
		assert_ptr_equal(raw.armed, armed);
		expect_service(&raw);
	}
	for (uint32_t i = 1; i < raw.welcome.n_lanes * CHI_PRIOS; i++) {
		open_lane(&raw, i / CHI_PRIOS, i % CHI_PRIOS);
		expect_service(&raw);
	}
	detach(&raw);
	check_the_runtime_is_well();
}

static void who_says_nothing_is_told_to_go(void **state)
{
	uint64_t begin_ns = hshm_clock_ns();
	int fd = dial();

	(void)state;
	expect_refusal(fd, -ETIMEDOUT);
	expect_hang_up(fd);
	assert_true(hshm_clock_ns() - begin_ns < 9 * HSHM_NSEC_PER_SEC);
	close(fd);
	check_the_runtime_is_well();
}

static void a_client_that_never_reads_is_ended(void **state)
{
	const struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN };
	bool ended = false;
	struct raw raw;

	(void)state;
	greet(&raw);
	for (int i = 0; i < 100000 && !ended; i++) {
		long n = hshm_fds_send(raw.socket, &request, sizeof(request), NULL, 0);

		ended = n == -EPIPE || n == -ECONNRESET;
	}
	assert_true(ended);
	detach(&raw);
	check_the_runtime_is_well();
}

/* Each answer carries a descriptor, and those that are not taken count for all of the runtime's peers. */
static void a_lane_is_not_opened_for_ever(void **state)
{
	const struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN };
	union chi_message answer;
	uint32_t n_answers = 0, n_fds;
	int fds[CHI_WELCOME_FDS];
	struct raw raw;

	(void)state;
	greet(&raw);
	do {
		send_bytes(raw.socket, &request, sizeof(request));
		receive(raw.socket, &answer, fds, &n_fds);
		if (n_fds > 0)
			close(fds[0]);
	} while (answer.type == CHI_MESSAGE_LANE_OPENED && ++n_answers < 1000);
	assert_int_equal(answer.type, CHI_MESSAGE_REFUSAL);
	assert_in_range(n_answers, raw.welcome.n_lanes * CHI_PRIOS, 100);
	expect_hang_up(raw.socket);
	detach(&raw);
	check_the_runtime_is_well();
}

static void who_comes_and_goes_leaves_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		struct raw raw;

		if (i % 4 == 0) {
			close(dial());
		} else {
			greet(&raw);
			if (i % 4 > 1)
				open_lane(&raw, 0, CHI_PRIO_LOW_LATENCY);
			if (i % 4 == 3)
				push(&raw, ref_of(&raw, make_task(&raw, 0, PROBE_ADD, 0)));
			detach(&raw);
		}
	}
	check_the_runtime_is_well();
}

/* ---- what the seals hold ---- */

static void the_main_segment_cannot_be_written(void **state)
{
	char path[64];
	struct raw raw;
	int fd;

	(void)state;
	attach(&raw);
	assert_int_equal(mprotect(raw.main, CHI_PAGE, PROT_READ | PROT_WRITE), -1);
	assert_ptr_equal(mmap(NULL, CHI_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, raw.main_fd, 0), MAP_FAILED);
	assert_int_equal(pwrite(raw.main_fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(raw.main_fd, 0), -1);
	assert_int_equal(ftruncate(raw.main_fd, (off_t)raw.welcome.main_bytes + CHI_PAGE), -1);
	assert_int_equal(fallocate(raw.main_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, CHI_PAGE), -1);
	assert_int_equal(fcntl(raw.main_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	/* opened anew, as root may: the seals belong to the file */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", raw.main_fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		assert_ptr_equal(mmap(NULL, CHI_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
		close(fd);
	}
	detach(&raw);
	check_the_runtime_is_well();
}

static void its_own_segment_cannot_be_resized(void **state)
{
	struct raw raw;

	(void)state;
	attach(&raw);
	assert_int_equal(ftruncate(raw.segment_fd, CHI_PAGE), -1);
	assert_int_equal(ftruncate(raw.segment_fd, (off_t)raw.welcome.client_bytes + CHI_PAGE), -1);
	assert_int_equal(fcntl(raw.segment_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	/* holes it may make: what was there reads as zero */
	assert_int_equal(fallocate(raw.segment_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				   (off_t)raw.welcome.client_bytes),
			 0);
	ring_bell(&raw);
	detach(&raw);
	check_the_runtime_is_well();
}

/* ---- rubbish everywhere ---- */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Tasks of every method but those that kill by design or compute for as long as they are told; rubbish in all else. */
static void spoil_task(struct raw *raw, uint64_t *seed)
{
	static const uint32_t methods[] = { PROBE_NOOP, PROBE_ADD, PROBE_FAIL, PROBE_COPY, PROBE_SUM, PROBE_COUNTS };
	struct probe_task *task = make_task(raw, (uint32_t)(next_random(seed) % 32), PROBE_ADD, 0);
	unsigned char *bytes = (unsigned char *)task;

	task->task.method_id = methods[next_random(seed) % (sizeof(methods) / sizeof(methods[0]))];
	task->buffers[next_random(seed) % 2].ptr = (struct hipc_ptr){ next_random(seed) };
	task->buffers[next_random(seed) % 2].size_bytes = next_random(seed) >> (next_random(seed) % 64);
	for (uint64_t n = next_random(seed) % 4; n > 0; n--) {
		uint64_t at = next_random(seed) % sizeof(*task);

		/* the method stays as it is */
		if (at < offsetof(struct chi_task, pool_id) || at >= offsetof(struct chi_task, query))
			bytes[at] = (unsigned char)next_random(seed);
	}
	hshm_store_relaxed(&raw->ring.slots[next_random(seed) % raw->welcome.lane_depth],
			   (next_random(seed) % 8) << 32 | ref_of(raw, task));
}

static void random_rubbish_in_the_segment_harms_nobody(void **state)
{
	const char *given = getenv("CHI_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : hshm_clock_ns() | 1;
	uint64_t end_ns = hshm_deadline_ns(2 * HSHM_NSEC_PER_SEC);

	(void)state;
	skip_under_tsan();
	print_message("CHI_TEST_SEED=%llu\n", (unsigned long long)seed);
	while (hshm_clock_ns() < end_ns) {
		struct raw raw;

		attach(&raw);
		for (int i = 0; i < 20000; i++) {
			uint64_t at = next_random(&seed) % (raw.heap / 8);

			if (i % 64 == 0)
				((volatile uint64_t *)(void *)raw.segment)[at] = next_random(&seed);
			spoil_task(&raw, &seed);
			if (i % 16 == 0)
				ring_bell(&raw);
		}
		detach(&raw);
	}
	check_the_runtime_is_well();
}

/* ---- processes that die ---- */

struct process {
	pid_t pid;
	int ready; /* it writes a byte, and so does its end close it */
};

static void spawn_role(struct process *process, const char *role, const char *argument)
{
	posix_spawn_file_actions_t actions;
	char *argv[] = { (char *)(uintptr_t) "hostile_client", (char *)(uintptr_t)role, (char *)(uintptr_t)argument,
			 NULL };
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	assert_int_equal(posix_spawn(&process->pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	process->ready = ends[0];
}

static void await_ready(struct process *process)
{
	char byte;

	assert_int_equal(read(process->ready, &byte, 1), 1);
}

static void kill_process(struct process *process)
{
	assert_int_equal(kill(process->pid, SIGKILL), 0);
}

static void reap_process(struct process *process)
{
	int status;

	assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(process->ready);
}

static int say_ready(void)
{
	return write(STDOUT_FILENO, "r", 1) == 1 ? 0 : 1;
}

#define VICTIM_BLOCKED 20
#define VICTIM_QUEUED  100

/* A client with tasks blocked at a gate, more of them in its lane than it may have, and rings full. @deaf: they do not ask
 * whether they shall end. */
static int role_client(const char *pool_text, bool deaf)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = RUNTIME_NAME);
	uint32_t pool = (uint32_t)strtoul(pool_text, NULL, 10);
	struct chi_client *client;

	if (chi_client_connect(&opts, &client) < 0)
		return 1;
	for (int i = 0; i < VICTIM_BLOCKED + VICTIM_QUEUED; i++) {
		struct probe_task *task;

		if (chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(3), PROBE_GATE_WAIT, &task) < 0)
			return 1;
		task->count = deaf;
		if (chi_submit(client, task) < 0)
			return 1;
		if (i == VICTIM_BLOCKED && say_ready())
			return 1;
	}
	pause();
	return 0;
}

static void a_killed_client_is_reclaimed_when_its_last_task_ended(void **state)
{
	char pool[16];

	(void)state;
	snprintf(pool, sizeof(pool), "%u", stage.pool);
	for (int round = 0; round < 3; round++) {
		struct process victim;

		set_gate(3, false);
		spawn_role(&victim, "deaf", pool);
		await_ready(&victim);
		await(count_in_flight() > VICTIM_BLOCKED);
		assert_int_equal(count_client_maps(), stage.n_maps_before + 1);
		kill_process(&victim);
		reap_process(&victim);
		/* its tasks are under way: the memory they write to stays. The time is for a runtime that would take it away. */
		usleep(20000);
		assert_int_equal(count_client_maps(), stage.n_maps_before + 1);
		set_gate(3, true);
		await(count_client_maps() == stage.n_maps_before);
	}
	check_the_runtime_is_well();
}

/* Nobody else could end them: the words to cancel them by were in its segment. */
static void a_killed_clients_tasks_end_though_the_gate_stays_shut(void **state)
{
	struct process victim;
	char pool[16];

	(void)state;
	snprintf(pool, sizeof(pool), "%u", stage.pool);
	set_gate(3, false);
	spawn_role(&victim, "client", pool);
	await_ready(&victim);
	await(count_in_flight() > VICTIM_BLOCKED);
	kill_process(&victim);
	reap_process(&victim);
	await(count_client_maps() == stage.n_maps_before);
	check_the_runtime_is_well();
}

static void a_client_killed_at_any_moment_is_reclaimed(void **state)
{
	char pool[16];

	(void)state;
	set_gate(3, true);
	snprintf(pool, sizeof(pool), "%u", stage.pool);
	for (useconds_t delay = 0; delay < 12000; delay += 600) {
		struct process victim;

		spawn_role(&victim, "client", pool);
		usleep(delay);
		kill_process(&victim);
		reap_process(&victim);
	}
	check_the_runtime_is_well();
}

static int role_runtime(const char *unused)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.handle_faults = true, .listen = true, .name = MORTAL_NAME,
							.config_text = config_text);
	struct chi_runtime *runtime;

	(void)unused;
	if (chi_runtime_start(&opts, &runtime) < 0) {
		fprintf(stderr, "%s\n", chi_error_text());
		return 1;
	}
	return say_ready() ? 1 : (pause(), 0);
}

struct waiter {
	struct chi_client *client;
	struct probe_task *task;
	bool any; /* chi_wait_any() of two */
	int ret;
	uint64_t ended_ns;
	hshm_au32 waits;
};

static void *wait_for_ever(void *arg)
{
	struct waiter *waiter = arg;
	void *tasks[] = { waiter->task, waiter->task };

	hshm_store_release(&waiter->waits, 1); /* release: pairs with the acquire of who kills */
	waiter->ret = waiter->any ? chi_wait_any(tasks, 1, HSHM_FOREVER) : chi_wait(waiter->task, HSHM_FOREVER);
	waiter->ended_ns = hshm_clock_ns();
	return NULL;
}

/* Returns how long after the kill the wait ended. */
static uint64_t die_while_waited_for(enum chi_wait_policy policy, bool any)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.name = MORTAL_NAME, .wait_policy = policy);
	struct chi_pool_spec spec = { .module = "probe" };
	struct waiter waiter = { .any = any };
	struct process daemon;
	uint64_t killed_ns, n_given_up;
	pthread_t thread;
	uint32_t pool;

	spawn_role(&daemon, "runtime", "");
	await_ready(&daemon);
	assert_int_equal(chi_client_connect(&opts, &waiter.client), 0);
	assert_int_equal(chi_pool_create(waiter.client, &spec, &pool), 1);
	assert_int_equal(chi_task_alloc(waiter.client, sizeof(*waiter.task), pool, CHI_QUERY_LOCAL_ID(0),
					PROBE_GATE_WAIT, &waiter.task),
			 0);
	assert_int_equal(chi_submit(waiter.client, waiter.task), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &waiter), 0);
	await(hshm_load_acquire(&waiter.waits)); /* acquire: pairs with the release in wait_for_ever() */
	usleep(5000);				 /* into the policy's last stage */
	kill_process(&daemon);
	killed_ns = hshm_clock_ns();
	pthread_join(thread, NULL);
	assert_int_equal(waiter.ret, -EOWNERDEAD);
	print_message("policy %u: -EOWNERDEAD after %.1f ms\n", policy,
		      ((double)waiter.ended_ns - (double)killed_ns) / 1e6);
	assert_true(waiter.ended_ns < killed_ns + TOLD_NEVER_NS);
	/* from now on it is told at once */
	assert_int_equal(chi_client_alive(waiter.client), -EOWNERDEAD);
	assert_int_equal(chi_client_runtime_end(waiter.client, &n_given_up), -EOWNERDEAD);
	assert_int_equal(chi_submit(waiter.client, waiter.task), -EOWNERDEAD);
	assert_int_equal(chi_wait(waiter.task, HSHM_FOREVER), -EOWNERDEAD);
	reap_process(&daemon);
	chi_client_disconnect(waiter.client);
	return waiter.ended_ns > killed_ns ? waiter.ended_ns - killed_ns : 0;
}

/* On a machine that others use, too, in one of a few tries; each death is counted by tests/crash/runtime_kills. */
static void a_death_is_told_soon(enum chi_wait_policy policy, bool any)
{
	for (uint32_t i = 0; i < TOLD_TRIES; i++) {
		if (die_while_waited_for(policy, any) < TOLD_SOON_NS)
			return;
	}
	fail_msg("policy %u: later than %u ms each time", policy, (unsigned)(TOLD_SOON_NS / HSHM_NSEC_PER_MSEC));
}

static void the_runtimes_death_ends_every_wait(void **state)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.handle_faults = true, .listen = true, .name = MORTAL_NAME,
							.config_text = config_text);
	struct chi_client_opts client_opts = CHI_CLIENT_OPTS(.name = MORTAL_NAME);
	struct chi_client *client;
	struct chi_runtime *runtime;

	(void)state;
	/* each daemon finds the socket that the one before it left, and takes its place */
	a_death_is_told_soon(CHI_WAIT_SLEEP, false);
	a_death_is_told_soon(CHI_WAIT_BUSY, false);
	a_death_is_told_soon(CHI_WAIT_HYBRID, false);
	a_death_is_told_soon(CHI_WAIT_HYBRID, true);
	assert_int_equal(chi_client_connect(&client_opts, &client), -ECONNREFUSED);
	assert_int_equal(chi_runtime_start(&opts, &runtime), 0);
	assert_int_equal(chi_client_connect(&client_opts, &client), 0);
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, 0, NULL), 0);
	assert_int_equal(chi_client_connect(&client_opts, &client), -ENOENT);
	check_the_runtime_is_well();
}

int main(int argc, char **argv)
{
	if (argc == 3 && (strcmp(argv[1], "client") == 0 || strcmp(argv[1], "deaf") == 0))
		return role_client(argv[2], strcmp(argv[1], "deaf") == 0);
	if (argc == 3 && strcmp(argv[1], "runtime") == 0)
		return role_runtime(argv[2]);

#define CASE(function) cmocka_unit_test_setup(function, before_case)
	const struct CMUnitTest tests[] = {
		CASE(references_outside_the_heap_are_refused),
		CASE(a_task_in_flight_is_refused_and_the_first_goes_on),
		CASE(slots_with_rubbish_stop_only_their_own_lane),
		CASE(a_ring_that_is_refilled_all_the_time_starves_nobody),
		CASE(sizes_that_cannot_be_are_refused),
		CASE(headers_with_rubbish_get_their_errno),
		CASE(an_event_channel_that_is_never_read_holds_no_worker),
		CASE(a_period_of_a_nanosecond_or_of_centuries_harms_nobody),
		CASE(buffers_outside_the_segment_are_refused),
		CASE(buffers_over_its_own_queue_harm_only_the_client),
		CASE(a_parking_word_anywhere_wakes_nobody_else),
		CASE(sleepers_of_one_task_are_woken_in_bounds),
		CASE(a_client_gets_no_more_run_contexts_than_its_cap),
		CASE(messages_that_are_none_end_the_connection),
		CASE(an_attached_client_that_sends_rubbish_is_ended),
		CASE(descriptors_that_nobody_asked_for_are_closed),
		CASE(a_descriptor_whose_close_hangs_holds_up_nobody),
		CASE(a_lane_opened_twice_is_the_same_lane),
		CASE(a_lane_is_not_opened_for_ever),
		CASE(who_says_nothing_is_told_to_go),
		CASE(a_client_that_never_reads_is_ended),
		CASE(who_comes_and_goes_leaves_nothing),
		CASE(the_main_segment_cannot_be_written),
		CASE(its_own_segment_cannot_be_resized),
		CASE(random_rubbish_in_the_segment_harms_nobody),
		CASE(a_killed_client_is_reclaimed_when_its_last_task_ended),
		CASE(a_killed_clients_tasks_end_though_the_gate_stays_shut),
		CASE(a_client_killed_at_any_moment_is_reclaimed),
		CASE(the_runtimes_death_ends_every_wait),
	};

	return cmocka_run_group_tests(tests, start_stage, end_stage);
}
