/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls.c - see calls.h
 *
 * Each function asks fails() first; what does not fail goes to the C library's. Blocks, mappings and modules are entered in the
 * ledger on the way.
 */
#include "calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <link.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ledger.h"

#define N_EVENTFDS 4096

/* what the last argument of a CALL() holds */
#define RETRY(error) ((error) + CALL_MUST_RETRY)
const struct call_kind call_kinds[CALL_N_KINDS] = {
#define CALL(call, class_, ...)                                                     \
	[CALL_##call] = { .name = #call,                                            \
			  .class = (class_),                                        \
			  .n_errors = sizeof((int[]){ __VA_ARGS__ }) / sizeof(int), \
			  .errors = { __VA_ARGS__ } },
#include "calls.def"
#undef CALL
};

static struct call_plan *plan; /* NULL: nothing is counted */
static pthread_spinlock_t lock;
static bool is_eventfd[N_EVENTFDS];

static _Thread_local bool arms __attribute__((tls_model("initial-exec"))); /* this thread has */
static _Thread_local bool spared __attribute__((tls_model("initial-exec")));
static _Thread_local bool inside __attribute__((tls_model("initial-exec")));

/* ---- ours, or what lies underneath ---- */

#define RANGES_MAX 64

struct range {
	uintptr_t begin, end;
};

static struct range ours[RANGES_MAX], libc;
static uint32_t n_ours;
/* Those that were there at the start, the program first. Whoever is neither comes later: a module. */
static struct range others[RANGES_MAX];
static uint32_t n_others;

static bool in(uintptr_t address, const struct range *range)
{
	return address >= range->begin && address < range->end;
}

static struct range range_of(const struct dl_phdr_info *info)
{
	struct range range = { info->dlpi_addr, info->dlpi_addr };

	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;

		if (info->dlpi_phdr[i].p_type == PT_LOAD && end > range.end)
			range.end = end;
	}
	return range;
}

static int note_library(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *slash = strrchr(info->dlpi_name, '/');
	const char *file = slash ? slash + 1 : info->dlpi_name;
	struct range range = range_of(info);

	(void)size;
	(void)arg;
	if (strncmp(file, "libc.so", 7) == 0)
		libc = range;
	if (strncmp(file, "libchimaera", 11) == 0 || strncmp(file, "ld-linux", 8) == 0 ||
	    strncmp(file, "libc.so", 7) == 0)
		ours[n_ours++] = range;
	else
		others[n_others++] = range;
	return n_ours == RANGES_MAX || n_others == RANGES_MAX;
}

/* The C library's own calls are made for who called it: strdup(), fopen(). */
static uintptr_t beyond_libc(uintptr_t caller)
{
	void *frames[16];
	int n;

	if (!in(caller, &libc))
		return caller;
	inside = true;
	n = backtrace(frames, 16);
	inside = false;
	/* the first frames are this file's, the program's */
	for (int i = 0; i < n; i++)
		if (!in((uintptr_t)frames[i], &libc) && !in((uintptr_t)frames[i], &others[0]))
			return (uintptr_t)frames[i];
	return caller;
}

static bool is_underneath(uintptr_t caller)
{
	caller = beyond_libc(caller);
	for (uint32_t i = 0; i < n_ours; i++)
		if (in(caller, &ours[i]))
			return false;
	for (uint32_t i = 0; i < n_others; i++)
		if (in(caller, &others[i]))
			return true;
	return false;
}

/* ---- the plan ---- */

void calls_arm(struct call_plan *new_plan)
{
	void *frames[2];

	if (n_others == 0) {
		backtrace(frames, 2); /* it loads a library the first time */
		pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE);
		dl_iterate_phdr(note_library, NULL);
	}
	arms = true;
	__atomic_store_n(&plan, new_plan, __ATOMIC_RELEASE);
}

void calls_disarm(void)
{
	arms = false;
	pthread_spin_lock(&lock);
	__atomic_store_n(&plan, NULL, __ATOMIC_RELEASE);
	pthread_spin_unlock(&lock);
}

void calls_spare_me(bool spare)
{
	spared = spare;
}

static int storm(struct call_plan *p, enum call call)
{
	p->n_waits++;
	p->random = p->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	if ((p->random >> 56) >= p->storm)
		return 0;
	p->n_failed++;
	return call_kinds[call].errors[p->random >> 40 & 1 ? 0 : call_kinds[call].n_errors - 1];
}

/* Under the lock. */
static int count(struct call_plan *p, enum call call)
{
	const struct call_kind *kind = &call_kinds[call];
	int error;

	p->n_of_kind[call]++;
	if (kind->class == CALL_WAIT)
		return storm(p, call);
	p->n_calls[!arms]++;
	if (p->hit && p->sticky && kind->class == call_kinds[p->hit_call].class) {
		p->n_failed++;
		return kind->errors[0];
	}
	/* by sides: one against the other they are never in the same order */
	if (p->others == arms || p->n_calls[p->others] != p->k)
		return 0;
	p->sticky = p->variant >= kind->n_errors && kind->class < CALL_OTHER;
	error = kind->errors[p->sticky ? 0 : p->variant % kind->n_errors];
	p->hit = true;
	p->hit_call = call;
	p->hit_error = error;
	p->n_failed = 1;
	return error;
}

/* 0, or the error with which this call has to fail */
static int fails(enum call call, const void *caller)
{
	struct call_plan *p = __atomic_load_n(&plan, __ATOMIC_ACQUIRE);
	bool first;
	int error = 0;

	if (!p || spared || inside || (!p->underneath && is_underneath((uintptr_t)caller)))
		return 0;
	pthread_spin_lock(&lock);
	p = plan; /* it may have been taken away meanwhile */
	first = p && !p->hit;
	if (p)
		error = count(p, call);
	pthread_spin_unlock(&lock);
	if (p && first && p->hit && error) {
		inside = true;
		p->n_frames = backtrace(p->frames, CALL_FRAMES);
		inside = false;
	}
	return error > CALL_MUST_RETRY ? error - CALL_MUST_RETRY : error;
}

#define FAILS(call) fails(CALL_##call, __builtin_return_address(0))

static void *resolve(void **place, const char *name)
{
	if (!*place)
		*place = dlvsym(RTLD_NEXT, name, "GLIBC_2.34");
	if (!*place)
		*place = dlvsym(RTLD_NEXT, name, "GLIBC_2.2.5");
	if (!*place)
		*place = dlvsym(RTLD_NEXT, name, "GLIBC_2.17");
	if (!*place)
		abort();
	return *place;
}

/* dlsym() is one of ours */
typedef void *dlsym_fn(void *, const char *);

static void *next(void **place, const char *name)
{
	static void *next_dlsym;

	if (!*place)
		*place = ((dlsym_fn *)resolve(&next_dlsym, "dlsym"))(RTLD_NEXT, name);
	if (!*place)
		abort();
	return *place;
}

/* The C library's own. */
#define REAL(name)                                      \
	({                                              \
		static void *place;                     \
		(__typeof__(&name))next(&place, #name); \
	})

#define OR_FAIL(call, failed)             \
	do {                              \
		int fault_ = FAILS(call); \
		if (fault_) {             \
			errno = fault_;   \
			return failed;    \
		}                         \
	} while (0)

/* ---- memory ---- */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
	void *block;

	OR_FAIL(malloc, NULL);
	block = __libc_malloc(size);
	ledger_block(block, size, CALLER);
	return block;
}

void *calloc(size_t n, size_t size)
{
	void *block;

	OR_FAIL(calloc, NULL);
	block = __libc_calloc(n, size);
	ledger_block(block, n * size, CALLER);
	return block;
}

void *realloc(void *before, size_t size)
{
	void *block;

	OR_FAIL(realloc, NULL);
	/* first: after it another thread may get the same place */
	ledger_no_block(before);
	block = __libc_realloc(before, size);
	ledger_block(block, size, CALLER);
	return block;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	void *block;

	OR_FAIL(aligned_alloc, NULL);
	block = __libc_memalign(alignment, size);
	ledger_block(block, size, CALLER);
	return block;
}

int posix_memalign(void **ret_block, size_t alignment, size_t size)
{
	int error = FAILS(posix_memalign);

	if (error)
		return error;
	*ret_block = __libc_memalign(alignment, size);
	ledger_block(*ret_block, size, CALLER);
	return *ret_block ? 0 : ENOMEM;
}

void free(void *block)
{
	ledger_no_block(block);
	__libc_free(block);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	void *base;

	OR_FAIL(mmap, MAP_FAILED);
	base = (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
	if (base != MAP_FAILED && !(flags & MAP_FIXED)) /* over what is there already: no new one */
		ledger_mapping(base, size);
	return base;
}

int munmap(void *base, size_t size)
{
	ledger_no_mapping(base, size);
	return (int)syscall(SYS_munmap, base, size);
}

/* ---- those that set errno and have nothing to themselves ---- */

#define PASS(type, failed, call, parameters, arguments) \
	type call parameters                            \
	{                                               \
		OR_FAIL(call, failed);                  \
		return REAL(call) arguments;            \
	}

PASS(int, -1, mprotect, (void *base, size_t size, int protection), (base, size, protection))
PASS(int, -1, madvise, (void *base, size_t size, int advice), (base, size, advice))
PASS(int, -1, memfd_create, (const char *name, unsigned flags), (name, flags))
PASS(int, -1, ftruncate, (int fd, off_t size), (fd, size))
PASS(int, -1, fallocate, (int fd, int mode, off_t offset, off_t size), (fd, mode, offset, size))
PASS(int, -1, socket, (int family, int type, int protocol), (family, type, protocol))
PASS(int, -1, socketpair, (int family, int type, int protocol, int ends[2]), (family, type, protocol, ends))
PASS(int, -1, bind, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
PASS(int, -1, listen, (int fd, int n), (fd, n))
PASS(int, -1, connect, (int fd, const struct sockaddr *address, socklen_t size), (fd, address, size))
PASS(ssize_t, -1, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
PASS(ssize_t, -1, send, (int fd, const void *bytes, size_t size, int flags), (fd, bytes, size, flags))
PASS(int, -1, getsockopt, (int fd, int level, int name, void *value, socklen_t *size), (fd, level, name, value, size))
PASS(int, -1, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
     (fd, level, name, value, size))
PASS(int, -1, poll, (struct pollfd * fds, nfds_t n, int timeout), (fds, n, timeout))
PASS(int, -1, ppoll, (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
     (fds, n, timeout, mask))
PASS(int, -1, epoll_create1, (int flags), (flags))
PASS(int, -1, epoll_wait, (int fd, struct epoll_event *events, int n, int timeout), (fd, events, n, timeout))
PASS(int, -1, epoll_pwait2,
     (int fd, struct epoll_event *events, int n, const struct timespec *timeout, const sigset_t *mask),
     (fd, events, n, timeout, mask))
PASS(int, -1, dup3, (int fd, int to, int flags), (fd, to, flags))
PASS(FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode))
PASS(int, -1, fstat, (int fd, struct stat *status), (fd, status))
PASS(int, -1, stat, (const char *path, struct stat *status), (path, status))
PASS(int, -1, lstat, (const char *path, struct stat *status), (path, status))
PASS(int, -1, access, (const char *path, int mode), (path, mode))
PASS(int, -1, mkdir, (const char *path, mode_t mode), (path, mode))
PASS(int, -1, unlink, (const char *path), (path))
PASS(int, -1, rename, (const char *from, const char *to), (from, to))
PASS(int, -1, flock, (int fd, int operation), (fd, operation))
PASS(int, -1, fchmod, (int fd, mode_t mode), (fd, mode))
PASS(char *, NULL, realpath, (const char *path, char *resolved), (path, resolved))
PASS(int, -1, sched_getaffinity, (pid_t pid, size_t size, cpu_set_t *set), (pid, size, set))
PASS(int, -1, sigaltstack, (const stack_t *stack, stack_t *before), (stack, before))
PASS(int, -1, sigaction, (int number, const struct sigaction *action, struct sigaction *before),
     (number, action, before))
PASS(ssize_t, -1, getrandom, (void *bytes, size_t size, unsigned flags), (bytes, size, flags))
PASS(int, -1, sem_wait, (sem_t * semaphore), (semaphore))
PASS(int, -1, eventfd_read, (int fd, eventfd_t *value), (fd, value))

/* The errors that follow from something make it so. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	int error = FAILS(sendmsg);

	if (error == EPIPE)
		shutdown(fd, SHUT_RDWR);
	if (error == ETOOMANYREFS && !message->msg_controllen)
		error = ENOBUFS;
	if (!error)
		return REAL(sendmsg)(fd, message, flags);
	errno = error;
	return -1;
}

/* Nothing goes through while an epoll set may not be left or a descriptor may not be closed by hand. */
int epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
	if (operation != EPOLL_CTL_DEL)
		OR_FAIL(epoll_ctl, -1);
	return REAL(epoll_ctl)(set, operation, fd, event);
}

/* ---- those that return the error ---- */

#define PASS_ERROR(call, parameters, arguments)              \
	int call parameters                                  \
	{                                                    \
		int error = FAILS(call);                     \
		return error ? error : REAL(call) arguments; \
	}

PASS_ERROR(posix_fallocate, (int fd, off_t offset, off_t size), (fd, offset, size))
PASS_ERROR(pthread_create, (pthread_t * thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg),
	   (thread, attr, fn, arg))
PASS_ERROR(pthread_key_create, (pthread_key_t * key, void (*destructor)(void *)), (key, destructor))
PASS_ERROR(pthread_setspecific, (pthread_key_t key, const void *value), (key, value))
PASS_ERROR(pthread_setaffinity_np, (pthread_t thread, size_t size, const cpu_set_t *set), (thread, size, set))
PASS_ERROR(clock_nanosleep, (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
	   (clock, flags, time, left))

/* ---- descriptors that ring: a read may find nothing, a write that fails finds the counter full, which rings as well ---- */

int eventfd(unsigned value, int flags)
{
	int fd;

	OR_FAIL(eventfd, -1);
	fd = REAL(eventfd)(value, flags);
	if (fd >= 0 && fd < N_EVENTFDS)
		is_eventfd[fd] = true;
	return fd;
}

int close(int fd)
{
	if (fd >= 0 && fd < N_EVENTFDS)
		is_eventfd[fd] = false;
	return REAL(close)(fd);
}

int eventfd_write(int fd, eventfd_t value)
{
	int error = FAILS(eventfd_write), rc = REAL(eventfd_write)(fd, value);

	if (!error)
		return rc;
	errno = error;
	return -1;
}

static bool rings(int fd)
{
	return fd >= 0 && fd < N_EVENTFDS && is_eventfd[fd];
}

ssize_t read(int fd, void *bytes, size_t size)
{
	int error = fails(rings(fd) ? CALL_eventfd_read : CALL_read, CALLER);

	if (error == CALL_SHORT)
		return REAL(read)(fd, bytes, (size + 1) / 2);
	if (!error)
		return REAL(read)(fd, bytes, size);
	errno = error;
	return -1;
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
	int error = FAILS(pread);

	if (error == CALL_SHORT)
		return REAL(pread)(fd, bytes, (size + 1) / 2, offset);
	if (!error)
		return REAL(pread)(fd, bytes, size, offset);
	errno = error;
	return -1;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	int error = fails(rings(fd) ? CALL_eventfd_write : CALL_write, CALLER);

	if (error == CALL_SHORT)
		return REAL(write)(fd, bytes, (size + 1) / 2);
	if (error && !rings(fd)) {
		errno = error;
		return -1;
	}
	size = (size_t)REAL(write)(fd, bytes, size);
	if (!error)
		return (ssize_t)size;
	errno = error;
	return -1;
}

/* Aborted: the connection has gone meanwhile. */
int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	int error = FAILS(accept4);

	if (!error)
		return REAL(accept4)(fd, address, size, flags);
	if (error == ECONNABORTED)
		close(REAL(accept4)(fd, address, size, flags));
	errno = error;
	return -1;
}

/* ---- with arguments that may be missing ---- */

int open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list args;
	int error = FAILS(open);

	if (error == ENOSPC && !(flags & O_CREAT))
		error = ENOENT;
	if (error) {
		errno = error;
		return -1;
	}
	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int fcntl(int fd, int command, ...)
{
	unsigned long argument;
	va_list args;

	OR_FAIL(fcntl, -1);
	va_start(args, command);
	argument = va_arg(args, unsigned long);
	va_end(args);
	return (int)syscall(SYS_fcntl, fd, command, argument);
}

int prctl(int option, ...)
{
	unsigned long a[4];
	va_list args;

	OR_FAIL(prctl, -1);
	va_start(args, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(args, unsigned long);
	va_end(args);
	return (int)syscall(SYS_prctl, option, a[0], a[1], a[2], a[3]);
}

long syscall(long number, ...)
{
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_pidfd_open)
		OR_FAIL(pidfd_open, -1);
	if (number == SYS_futex && ((int)a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT)
		OR_FAIL(futex_wait, -1);
	return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- modules ---- */

/* As the loader would: the cause is dlerror()'s next. */
void *dlopen(const char *path, int flags)
{
	void *dl;

	if (FAILS(dlopen))
		return REAL(dlopen)("/nowhere/cannot be loaded", flags);
	dl = REAL(dlopen)(path, flags);
	if (dl)
		ledger_module(1);
	return dl;
}

int dlclose(void *dl)
{
	ledger_module(-1);
	return REAL(dlclose)(dl);
}

void *dlsym(void *dl, const char *name)
{
	static void *place;

	if (FAILS(dlsym))
		return NULL;
	return ((dlsym_fn *)resolve(&place, "dlsym"))(dl, name);
}

int dladdr(const void *address, Dl_info *info)
{
	return FAILS(dladdr) ? 0 : REAL(dladdr)(address, info);
}
