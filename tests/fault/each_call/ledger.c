/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ledger.c - see ledger.h
 *
 * One table for blocks and mappings, a hash of chains, under a spin lock: it is used inside malloc(), so it takes no memory.
 */
#include "ledger.h"

#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

#define N_NODES	  (1u << 17)
#define N_CHAINS  (1u << 16)
#define N_FRAMES  12
#define END_TRIES 200 /* of 5 ms, for threads to end */

struct node {
	uintptr_t base;
	size_t size;
	uint64_t serial;
	uint32_t next; /* + 1; 0 = none */
	bool mapping;
	int n_frames;
	void *frames[N_FRAMES];
};

static struct node nodes[N_NODES];
static uint32_t chains[N_CHAINS]; /* + 1 */
static uint32_t first_free, n_used;
static uint64_t last_serial;
static uint32_t n_modules;
static bool noting, tracing;
static uintptr_t loader_begin, loader_end;
static pthread_spinlock_t lock;

static _Thread_local bool inside __attribute__((tls_model("initial-exec")));

static uint32_t *chain_of(uintptr_t base)
{
	return &chains[(base >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 48 & (N_CHAINS - 1)];
}

static int find_loader(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	if (!strstr(info->dlpi_name, "ld-linux"))
		return 0;
	loader_begin = info->dlpi_addr;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;

		if (info->dlpi_phdr[i].p_type == PT_LOAD && end > loader_end)
			loader_end = end;
	}
	return 1;
}

void ledger_begin(bool traces)
{
	void *frames[2];

	pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE);
	dl_iterate_phdr(find_loader, NULL);
	backtrace(frames, 2); /* it loads a library the first time */
	tracing = traces;
	noting = true;
}

/* Under the lock. */
static struct node *take_node(void)
{
	uint32_t node = first_free;

	if (node) {
		first_free = nodes[node - 1].next;
		return &nodes[node - 1];
	}
	if (n_used == N_NODES)
		abort();
	return &nodes[n_used++];
}

static void add(uintptr_t base, size_t size, bool mapping)
{
	void *frames[N_FRAMES];
	int n_frames = 0;
	struct node *node;
	uint32_t *chain = chain_of(base);

	if (tracing) {
		inside = true;
		n_frames = backtrace(frames, N_FRAMES);
		inside = false;
	}
	pthread_spin_lock(&lock);
	node = take_node();
	*node = (struct node){ .base = base, .size = size, .serial = ++last_serial, .mapping = mapping };
	node->n_frames = n_frames;
	memcpy(node->frames, frames, (size_t)n_frames * sizeof(frames[0]));
	node->next = *chain;
	*chain = (uint32_t)(node - nodes) + 1;
	pthread_spin_unlock(&lock);
}

static void drop(uintptr_t base, bool mapping)
{
	uint32_t *link;

	pthread_spin_lock(&lock);
	for (link = chain_of(base); *link; link = &nodes[*link - 1].next) {
		struct node *node = &nodes[*link - 1];
		uint32_t index = *link;

		if (node->base != base || node->mapping != mapping)
			continue;
		*link = node->next;
		node->next = first_free;
		node->base = 0;
		first_free = index;
		break;
	}
	pthread_spin_unlock(&lock);
}

void ledger_block(void *block, size_t size, const void *caller)
{
	if (noting && block && !inside && !((uintptr_t)caller >= loader_begin && (uintptr_t)caller < loader_end))
		add((uintptr_t)block, size, false);
}

void ledger_no_block(void *block)
{
	if (noting && block)
		drop((uintptr_t)block, false);
}

void ledger_mapping(void *base, size_t size)
{
	if (noting)
		add((uintptr_t)base, size, true);
}

void ledger_no_mapping(void *base, size_t size)
{
	(void)size; /* ours unmap what they mapped, whole */
	if (noting)
		drop((uintptr_t)base, true);
}

void ledger_module(int n)
{
	__atomic_fetch_add(&n_modules, (uint32_t)n, __ATOMIC_RELAXED);
}

/* ---- looking ---- */

uint32_t ledger_n_modules(void)
{
	return __atomic_load_n(&n_modules, __ATOMIC_RELAXED);
}

static uint32_t count_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	uint32_t n = 0;

	while (tasks && readdir(tasks))
		n++;
	if (tasks)
		closedir(tasks);
	return n - 2;
}

static bool is_open(int fd)
{
	return syscall(SYS_fcntl, fd, F_GETFD) >= 0;
}

void ledger_look(struct ledger *ret_ledger)
{
	ret_ledger->now = last_serial;
	ret_ledger->n_modules = n_modules;
	ret_ledger->n_threads = count_threads();
	for (int fd = 0; fd < LEDGER_FDS; fd++)
		ret_ledger->fds[fd] = is_open(fd);
}

void ledger_name(const void *address, char *text, size_t size)
{
	/* a return address is behind its call */
	uintptr_t at = (uintptr_t)address - 1;
	char command[600], line[256] = "";
	Dl_info info;
	FILE *pipe;

	if (!dladdr((void *)at, &info) || !info.dli_fname) {
		snprintf(text, size, "%p", address);
		return;
	}
	/* what is loaded with its own addresses has them in its symbols, too */
	snprintf(command, sizeof(command), "addr2line -f -s -e '%s' %#lx 2>/dev/null", info.dli_fname,
		 (unsigned long)(at - (uintptr_t)info.dli_fbase));
	pipe = popen(command, "r");
	if (pipe) {
		size_t n = fread(line, 1, sizeof(line) - 1, pipe);

		line[n] = '\0';
		pclose(pipe);
		for (char *c = line; *c; c++)
			if (*c == '\n')
				*c = c[1] ? ' ' : '\0';
	}
	snprintf(text, size, "%.60s+%#lx %s",
		 strrchr(info.dli_fname, '/') ? strrchr(info.dli_fname, '/') + 1 : info.dli_fname,
		 (unsigned long)(at - (uintptr_t)info.dli_fbase), line);
}

static void tell_node(const struct node *node, char *text, size_t size)
{
	append(text, size, "\n    %s of %zu bytes", node->mapping ? "mapping" : "block", node->size);
	for (int i = 2; i < node->n_frames; i++) {
		char name[400];

		ledger_name(node->frames[i], name, sizeof(name));
		append(text, size, "\n      %s", name);
	}
}

static void tell_memory(const struct ledger *before, char *text, size_t size)
{
	uint32_t n = 0;

	noting = false;
	for (uint32_t i = 0; i < n_used; i++) {
		if (nodes[i].base && nodes[i].serial > before->now && n++ < 4)
			tell_node(&nodes[i], text, size);
	}
	noting = true;
	if (n > 4)
		append(text, size, "\n    and %u more", n - 4);
}

static void tell_fds(const struct ledger *before, char *text, size_t size)
{
	uint32_t n_logs = 0;

	for (int fd = 0; fd < LEDGER_FDS; fd++) {
		char link[64], target[200];
		ssize_t n;

		if (before->fds[fd] || !is_open(fd))
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, target, sizeof(target) - 1);
		/* the process has one log, which stays when its runtimes have gone */
		if (n > 4 && memcmp(target + n - 4, ".log", 4) == 0 && n_logs++ == 0)
			continue;
		append(text, size, "\n    descriptor %d: %.*s", fd, n > 0 ? (int)n : 0, target);
	}
}

void ledger_compare(const struct ledger *before, char *text, size_t size)
{
	uint32_t n_threads = count_threads();

	text[0] = '\0';
	for (int i = 0; n_threads > before->n_threads && i < END_TRIES; i++) {
		nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
		n_threads = count_threads();
	}
	if (n_threads > before->n_threads)
		append(text, size, "\n    %u threads", n_threads - before->n_threads);
	if (n_modules != before->n_modules)
		append(text, size, "\n    %d modules", (int)(n_modules - before->n_modules));
	tell_memory(before, text, size);
	tell_fds(before, text, size);
}
