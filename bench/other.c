/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * other.c - the other process of a reference: on the second CPU, over memory that both map
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "other.h"

void *bench_shared_map(size_t size_bytes)
{
	void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

void bench_shared_unmap(void *memory, size_t size_bytes)
{
	if (memory)
		munmap(memory, size_bytes);
}

int bench_other_start(unsigned cpu, void (*serve)(void *arg), void *arg, pid_t *ret_pid)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!bench_pin(cpu))
			serve(arg);
		_exit(1);
	}
	*ret_pid = pid;
	return 0;
}

void bench_other_stop(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void bench_gate_set(hshm_au32 *gate, uint32_t is_open)
{
	hshm_store_release(gate, is_open); /* release: what was written before is seen by who goes through */
	if (is_open)
		syscall(SYS_futex, &gate->v, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void bench_gate_wait(hshm_au32 *gate)
{
	while (!hshm_load_acquire(gate))
		syscall(SYS_futex, &gate->v, FUTEX_WAIT, 0, NULL, NULL, 0);
}
