/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tbb.cpp - oneTBB: a task_group in an arena of two threads
 *
 * Not pinned, as it is by default: with pinned threads it was never faster, and often slower.
 */
#include "peer.h"

#include <cerrno>
#include <cstdint>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

namespace tbb = oneapi::tbb;

namespace
{

struct alignas(128) Count {
	uint64_t n;
};

struct State {
	State() : control(tbb::global_control::max_allowed_parallelism, 2), arena(2)
	{
	}

	int check(uint64_t n)
	{
		uint64_t n_ran = ran[0].n + ran[1].n;

		ran[0].n = ran[1].n = 0;
		return n_ran == n ? 0 : -EBADMSG;
	}

	/* by thread: no line is written by both */
	void count()
	{
		ran[tbb::this_task_arena::current_thread_index() & 1].n++;
	}

	tbb::global_control control;
	tbb::task_arena arena;
	Count ran[2] = {};
};

int start(const unsigned[2], void **ret_own)
{
	*ret_own = new State();
	return 0;
}

int spawn(void *own, uint32_t n)
{
	auto *state = static_cast<State *>(own);

	state->arena.execute([=] {
		tbb::task_group group;

		for (uint32_t i = 0; i < n; i++)
			group.run([=] { state->count(); });
		group.wait();
	});
	return state->check(n);
}

void await(State *state, uint32_t n)
{
	tbb::task_group group;

	for (uint32_t i = 0; i < n; i++) {
		group.run([=] { state->count(); });
		group.wait();
	}
}

int nested(void *own, uint32_t n)
{
	auto *state = static_cast<State *>(own);

	state->arena.execute([=] {
		tbb::task_group group;

		group.run([=] { await(state, n); });
		group.wait();
	});
	return state->check(n);
}

void stop(void *own)
{
	delete static_cast<State *>(own);
}

} // namespace

extern "C" {
extern const struct bench_scheduler bench_schedulers_tbb[];
const struct bench_scheduler bench_schedulers_tbb[] = {
	{ "tbb", "oneTBB: a task_group in an arena of two threads", true, start, spawn, nested, stop },
	{},
};
}
