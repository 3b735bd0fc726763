/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread_stack_test.c - the state word of thread_stack.c under questions, answers and withdrawals at random: S1, S2, S3
 *
 * Two threads ask two others, which call the handler's function themselves, again and again: signals come when they like, and
 * ThreadSanitizer holds them back. What is asked for is a stack of one address, so that a torn one shows.
 */
#include "hshm_stress.h"

#include <execinfo.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <hshm/atomic.h>
#include <hshm/thread_model.h>

#include "runtime/thread_stack.h"

#define N_EACH	  2u
#define NO_THREAD INT32_MAX
#define POLLS_MAX 400u

static hshm_au32 tids[N_EACH], ending;
static _Thread_local uintptr_t token; /* the answer: the thread's id, and which one of its answers */

struct asker {
	uint64_t seed, end_ns, n_taken, n_withdrawn, n_torn;
};

int backtrace(void **frames, int n_max)
{
	for (int i = 0; i < n_max; i++)
		frames[i] = (void *)token;
	return n_max;
}

static void answer(void *arg)
{
	const siginfo_t nobodys = { .si_code = SI_USER };
	uint32_t tid = (uint32_t)syscall(SYS_gettid);
	ucontext_t context = { 0 };

	hshm_store_release((hshm_au32 *)arg, tid); /* release, and relaxed below: nothing is read through them */
	for (uintptr_t n = 0; !hshm_load_relaxed(&ending); n++) {
		token = (uintptr_t)tid << 32 | (uint32_t)n;
#if defined(__x86_64__)
		context.uc_mcontext.gregs[REG_RIP] = (greg_t)token;
#else
		context.uc_mcontext.pc = token;
#endif
		chi_stack_on_signal(&nobodys, &context);
	}
}

static bool is_torn(const struct chi_stack *stack, uint32_t tid)
{
	if (stack->n != CHI_STACK_DEPTH_MAX || (uintptr_t)stack->pcs[0] >> 32 != tid)
		return true;
	return memcmp(stack->pcs, stack->pcs + 1, sizeof(stack->pcs) - sizeof(stack->pcs[0])) != 0;
}

static void ask(void *arg)
{
	struct asker *asker = arg;

	/* who is asked may get no processor meanwhile; ctest ends it */
	while (hshm_clock_ns() < asker->end_ns || asker->n_taken == 0) {
		uint32_t tid = hshm_load_relaxed(&tids[random_below(&asker->seed, N_EACH)]);
		uint64_t n_polls = random_below(&asker->seed, POLLS_MAX);
		struct chi_stack stack;
		bool taken = false;

		if (random_below(&asker->seed, 16) == 0)
			tid = NO_THREAD;
		if (chi_stack_ask((pid_t)tid) < 0)
			continue;
		while (!taken && n_polls--)
			taken = chi_stack_take(&stack);
		if (!taken)
			chi_stack_withdraw();
		else if (is_torn(&stack, tid))
			asker->n_torn++;
		asker->n_taken += taken;
		asker->n_withdrawn += !taken;
	}
}

static void an_answer_is_whole_and_of_who_was_asked(void **state)
{
	struct hshm_thread *answering[N_EACH], *asking[N_EACH];
	struct asker askers[N_EACH];
	uint64_t seed = stress_seed(), end_ns = stress_end_ns();

	(void)state;
	for (uint32_t i = 0; i < N_EACH; i++) {
		assert_int_equal(HSHM_THREAD_MODEL->spawn("answers", answer, &tids[i], &answering[i]), 0);
		while (hshm_load_acquire(&tids[i]) == 0)
			HSHM_THREAD_MODEL->yield();
	}
	for (uint32_t i = 0; i < N_EACH; i++) {
		askers[i] = (struct asker){ .seed = seed + 2 * i, .end_ns = end_ns };
		assert_int_equal(HSHM_THREAD_MODEL->spawn("asks", ask, &askers[i], &asking[i]), 0);
	}
	for (uint32_t i = 0; i < N_EACH; i++)
		HSHM_THREAD_MODEL->join(asking[i]);
	hshm_store_relaxed(&ending, 1);
	for (uint32_t i = 0; i < N_EACH; i++)
		HSHM_THREAD_MODEL->join(answering[i]);
	for (uint32_t i = 0; i < N_EACH; i++) {
		print_message("%llu taken, %llu withdrawn\n", (unsigned long long)askers[i].n_taken,
			      (unsigned long long)askers[i].n_withdrawn);
		assert_int_equal(askers[i].n_torn, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_whole_and_of_who_was_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
