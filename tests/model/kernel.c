/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kernel.c - what a thread sleeps on and is woken by, for actors: in place of the kernel's, by the linker's --wrap
 *
 * Only what the runtime uses of it, and exactly that far: an eventfd is readable while its counter is not 0; in an epoll set
 * it is reported while readable, or (EPOLLET) once for each write. A futex sleeps until it is woken, whatever becomes of
 * its word. All other descriptors are the real ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <hshm/thread_model.h>

#include "runtime/stack_slab.h"
#include "tests/model/sim.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define FDS_MAX	     256
#define FIRST_FD     (1 << 20)
#define WATCHED_MAX  64
#define SLEEPERS_MAX 32
#define COMMANDS_MAX 64

struct watched {
	int fd;
	uint32_t events;
	epoll_data_t data;
	bool written; /* since it was reported */
};

struct descriptor {
	enum { FD_FREE = 0, FD_EVENT, FD_EPOLL } kind;
	uint64_t count;
	struct watched watched[WATCHED_MAX];
	uint32_t n_watched;
};

static struct {
	struct descriptor fds[FDS_MAX];
	int n_open;
	struct sleeper {
		const void *word;
		bool woken;
	} * sleepers[SLEEPERS_MAX];
	struct {
		void (*fn)(void *arg);
		void *arg;
	} commands[COMMANDS_MAX];
	uint32_t n_commands, n_done;
	struct sim_rng rng;
	bool open;
} kernel;

uint64_t sim_look_at_clock(void);

/* ---- descriptors ---- */

static struct descriptor *descriptor(int fd)
{
	return fd >= FIRST_FD && fd < FIRST_FD + FDS_MAX ? &kernel.fds[fd - FIRST_FD] : NULL;
}

static int open_fd(int kind)
{
	for (int i = 0; i < FDS_MAX; i++) {
		if (kernel.fds[i].kind != FD_FREE)
			continue;
		memset(&kernel.fds[i], 0, offsetof(struct descriptor, watched));
		kernel.fds[i].n_watched = 0;
		kernel.fds[i].kind = kind;
		kernel.n_open++;
		return FIRST_FD + i;
	}
	errno = EMFILE;
	return -1;
}

static void unwatch(struct descriptor *epoll, int fd)
{
	for (uint32_t i = 0; i < epoll->n_watched; i++)
		if (epoll->watched[i].fd == fd)
			epoll->watched[i--] = epoll->watched[--epoll->n_watched];
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	struct descriptor *closed = descriptor(fd);

	if (!closed)
		return __real_close(fd);
	sim_check(closed->kind != FD_FREE, "a descriptor is closed twice");
	for (int i = 0; i < FDS_MAX; i++)
		if (kernel.fds[i].kind == FD_EPOLL)
			unwatch(&kernel.fds[i], fd);
	closed->kind = FD_FREE;
	kernel.n_open--;
	return 0;
}

int __real_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags)
{
	return kernel.open ? open_fd(FD_EVENT) : __real_eventfd(count, flags);
}

static void add_to_event(int fd, uint64_t n)
{
	struct descriptor *event = descriptor(fd);

	sim_check(event->kind == FD_EVENT, "a write to a descriptor that is closed");
	event->count += n;
	for (int i = 0; i < FDS_MAX; i++)
		for (uint32_t k = 0; kernel.fds[i].kind == FD_EPOLL && k < kernel.fds[i].n_watched; k++)
			if (kernel.fds[i].watched[k].fd == fd)
				kernel.fds[i].watched[k].written = true;
}

static int take_event(int fd, uint64_t *ret_count)
{
	struct descriptor *event = descriptor(fd);

	sim_check(event->kind == FD_EVENT, "a read of a descriptor that is closed");
	if (event->count == 0) {
		errno = EAGAIN;
		return -1;
	}
	*ret_count = event->count;
	event->count = 0;
	return 0;
}

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
	if (!descriptor(fd))
		return __real_write(fd, bytes, size);
	add_to_event(fd, *(const uint64_t *)bytes);
	return (ssize_t)size;
}

ssize_t __real_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size);
ssize_t __wrap_read(int fd, void *bytes, size_t size)
{
	if (!descriptor(fd))
		return __real_read(fd, bytes, size);
	return take_event(fd, bytes) < 0 ? -1 : (ssize_t)size;
}

int __wrap_eventfd_write(int fd, eventfd_t n);
int __wrap_eventfd_write(int fd, eventfd_t n)
{
	add_to_event(fd, n);
	return 0;
}

int __wrap_eventfd_read(int fd, eventfd_t *ret_count);
int __wrap_eventfd_read(int fd, eventfd_t *ret_count)
{
	return take_event(fd, ret_count);
}

/* ---- epoll ---- */

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
	return kernel.open ? open_fd(FD_EPOLL) : __real_epoll_create1(flags);
}

int __real_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int operation, int fd, struct epoll_event *event)
{
	struct descriptor *epoll = descriptor(epoll_fd);

	if (!epoll)
		return __real_epoll_ctl(epoll_fd, operation, fd, event);
	if (operation == EPOLL_CTL_DEL) {
		unwatch(epoll, fd);
		return 0;
	}
	sim_check(operation == EPOLL_CTL_ADD && descriptor(fd) && epoll->n_watched < WATCHED_MAX,
		  "what epoll_ctl() is asked for is not simulated");
	epoll->watched[epoll->n_watched++] = (struct watched){ fd, event->events, event->data,
							       descriptor(fd)->count != 0 };
	return 0;
}

static bool is_reported(const struct watched *watched)
{
	return watched->events & EPOLLET ? watched->written : descriptor(watched->fd)->count != 0;
}

static bool epoll_is_ready(void *arg)
{
	const struct descriptor *epoll = arg;

	for (uint32_t i = 0; i < epoll->n_watched; i++)
		if (is_reported(&epoll->watched[i]))
			return true;
	return false;
}

static int report(struct descriptor *epoll, struct epoll_event *events, int n_max)
{
	int n = 0;

	for (uint32_t i = 0; i < epoll->n_watched && n < n_max; i++) {
		if (!is_reported(&epoll->watched[i]))
			continue;
		epoll->watched[i].written = false;
		events[n++] = (struct epoll_event){ EPOLLIN, epoll->watched[i].data };
	}
	return n;
}

int __real_epoll_pwait2(int fd, struct epoll_event *events, int n_max, const struct timespec *timeout,
			const sigset_t *signals);
int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int n_max, const struct timespec *timeout,
			const sigset_t *signals);
int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int n_max, const struct timespec *timeout,
			const sigset_t *signals)
{
	struct descriptor *epoll = descriptor(fd);
	uint64_t wake_ns = HSHM_FOREVER;

	if (!epoll)
		return __real_epoll_pwait2(fd, events, n_max, timeout, signals);
	if (timeout)
		wake_ns = sim_now_ns() + (uint64_t)timeout->tv_sec * HSHM_NSEC_PER_SEC + (uint64_t)timeout->tv_nsec;
	(void)sim_block(epoll_is_ready, epoll, wake_ns);
	return report(epoll, events, n_max);
}

/* ---- the ipc thread's: between two waits it does what it is told ---- */

void sim_ipc_do(void (*fn)(void *arg), void *arg)
{
	sim_check(kernel.n_commands < COMMANDS_MAX, "too many commands for the ipc thread");
	kernel.commands[kernel.n_commands].fn = fn;
	kernel.commands[kernel.n_commands++].arg = arg;
}

bool sim_ipc_is_idle(void)
{
	return kernel.n_done == kernel.n_commands;
}

static bool ipc_is_ready(void *arg)
{
	return kernel.n_done < kernel.n_commands || epoll_is_ready(arg);
}

int __real_epoll_wait(int fd, struct epoll_event *events, int n_max, int timeout_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n_max, int timeout_ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n_max, int timeout_ms)
{
	struct descriptor *epoll = descriptor(fd);
	uint64_t wake_ns = timeout_ms < 0 ? HSHM_FOREVER : sim_now_ns() + (uint64_t)timeout_ms * HSHM_NSEC_PER_MSEC;

	if (!epoll)
		return __real_epoll_wait(fd, events, n_max, timeout_ms);
	if (timeout_ms == 0) { /* a worker's look; the ipc thread waits */
		(void)sim_block(epoll_is_ready, epoll, wake_ns);
		return report(epoll, events, n_max);
	}
	(void)sim_block(ipc_is_ready, epoll, wake_ns);
	while (kernel.n_done < kernel.n_commands) {
		uint32_t i = kernel.n_done++;

		kernel.commands[i].fn(kernel.commands[i].arg);
	}
	return report(epoll, events, n_max);
}

/* ---- futex ---- */

static bool is_woken(void *arg)
{
	return ((struct sleeper *)arg)->woken;
}

static long futex_wait(const uint32_t *word, uint32_t seen, const struct timespec *timeout)
{
	struct sleeper self = { .word = word };
	uint64_t ns = (uint64_t)timeout->tv_sec * HSHM_NSEC_PER_SEC + (uint64_t)timeout->tv_nsec;
	uint32_t place = sim_index(sim_self());
	bool woken;

	if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != seen)
		return -1;
	sim_count(client_sleeps);
	kernel.sleepers[place] = &self;
	woken = sim_block(is_woken, &self, sim_now_ns() + ns);
	kernel.sleepers[place] = NULL;
	return woken ? 0 : -1;
}

static long futex_wake(const uint32_t *word)
{
	for (uint32_t i = 0; i < SLEEPERS_MAX; i++)
		if (kernel.sleepers[i] && kernel.sleepers[i]->word == word)
			kernel.sleepers[i]->woken = true;
	return 0;
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number != SYS_futex || !kernel.open)
		return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if ((int)a[1] == FUTEX_WAIT)
		return futex_wait((const uint32_t *)a[0], (uint32_t)a[2], (const struct timespec *)a[3]);
	return futex_wake((const uint32_t *)a[0]);
}

/* ---- semaphores, mutexes ---- */

static bool can_take(void *arg)
{
	int value;

	return sem_getvalue(arg, &value) == 0 && value > 0;
}

int __real_sem_wait(sem_t *sem);
int __wrap_sem_wait(sem_t *sem);
int __wrap_sem_wait(sem_t *sem)
{
	if (kernel.open)
		(void)sim_block(can_take, sem, HSHM_FOREVER);
	return __real_sem_wait(sem);
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	int error;

	if (!kernel.open)
		return __real_pthread_mutex_lock(mutex);
	while ((error = pthread_mutex_trylock(mutex)) == EBUSY)
		sim_yield();
	return error;
}

/* ---- time and chance ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	uint64_t now_ns;

	if (!kernel.open)
		return __real_clock_gettime(clock, ret_time);
	now_ns = sim_look_at_clock();
	*ret_time = (struct timespec){ (time_t)(now_ns / HSHM_NSEC_PER_SEC), (long)(now_ns % HSHM_NSEC_PER_SEC) };
	return 0;
}

ssize_t __real_getrandom(void *bytes, size_t size, unsigned int flags);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned int flags);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned int flags)
{
	if (!kernel.open)
		return __real_getrandom(bytes, size, flags);
	for (size_t i = 0; i < size; i++)
		((unsigned char *)bytes)[i] = (unsigned char)sim_random(&kernel.rng);
	return (ssize_t)size;
}

/* ---- threads ---- */

extern const struct hshm_thread_model *const __real_HSHM_THREAD_MODEL;

static int spawn_actor(const char *name, void (*fn)(void *), void *arg, struct hshm_thread **ret_thread)
{
	*ret_thread = (struct hshm_thread *)sim_spawn(name, fn, arg);
	return 0;
}

static bool has_ended(void *arg)
{
	return sim_has_ended(arg);
}

static void join_actor(struct hshm_thread *thread)
{
	if (thread)
		(void)sim_block(has_ended, thread, HSHM_FOREVER);
}

static void detach_actor(struct hshm_thread *thread)
{
	sim_fail("%s is left to itself", sim_name((struct sim_actor *)thread));
}

static void sleep_for_us(uint64_t microseconds)
{
	(void)sim_block(NULL, NULL, sim_now_ns() + microseconds * HSHM_NSEC_PER_USEC);
}

static int set_affinity(uint32_t cpu)
{
	(void)cpu;
	return 0;
}

/* Each its own caches in the heaps, as threads have. */
static uint32_t actor_index(void)
{
	return kernel.open ? sim_index(sim_self()) : 0;
}

static int tls_create(void (*destructor)(void *), struct hshm_tls **ret_tls)
{
	return __real_HSHM_THREAD_MODEL->tls_create(destructor, ret_tls);
}

static void tls_destroy(struct hshm_tls *tls)
{
	__real_HSHM_THREAD_MODEL->tls_destroy(tls);
}

static void *tls_get(struct hshm_tls *tls)
{
	return __real_HSHM_THREAD_MODEL->tls_get(tls);
}

static int tls_set(struct hshm_tls *tls, void *value)
{
	return __real_HSHM_THREAD_MODEL->tls_set(tls, value);
}

static const struct hshm_thread_model actors = {
	.name = "actors",
	.spawn = spawn_actor,
	.join = join_actor,
	.detach = detach_actor,
	.yield = sim_yield,
	.sleep_for_us = sleep_for_us,
	.set_affinity = set_affinity,
	.tls_create = tls_create,
	.tls_destroy = tls_destroy,
	.tls_get = tls_get,
	.tls_set = tls_set,
	.index = actor_index,
};
extern const struct hshm_thread_model *const __wrap_HSHM_THREAD_MODEL;
const struct hshm_thread_model *const __wrap_HSHM_THREAD_MODEL = &actors;

/* The signal stack is the thread's, and there is one thread. */
int __wrap_chi_fault_thread_init(void);
int __wrap_chi_fault_thread_init(void)
{
	return 0;
}

void __wrap_chi_fault_thread_fini(void);
void __wrap_chi_fault_thread_fini(void)
{
}

/* What clients can repeat is not logged. */
struct chi_log_limit;
bool __wrap_chi_log_allowed(struct chi_log_limit *limit, uint32_t burst);
bool __wrap_chi_log_allowed(struct chi_log_limit *limit, uint32_t burst)
{
	(void)limit;
	(void)burst;
	return false;
}

/* Pages come when they are touched: a seed uses few of those that a heap takes at once, and the calls are dear. */
int __real_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice)
{
	if (kernel.open && (advice == MADV_POPULATE_WRITE || advice == MADV_NOHUGEPAGE || advice == MADV_DONTFORK))
		return 0;
	return __real_madvise(address, size, advice);
}

int __real_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size)
{
	return kernel.open ? 0 : __real_fallocate(fd, mode, offset, size);
}

/* ---- from seed to seed ---- */

void sim_kernel_open(uint64_t seed)
{
	memset(kernel.sleepers, 0, sizeof(kernel.sleepers));
	kernel.n_commands = kernel.n_done = 0;
	kernel.rng.state = seed;
	kernel.open = true;
}

void sim_kernel_close(void)
{
	kernel.open = false;
	sim_check(kernel.n_open == 0, "%d descriptors are left open", kernel.n_open);
}
