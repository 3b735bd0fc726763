/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * compress.c - the module `compress`: zstd over buffers that others may write while we read them
 *
 * A task goes through its buffers in pieces of at most CHI_COMPRESS_PIECE_BYTES: a client's input is copied into a
 * bench's private memory before zstd sees it, and zstd's output (from which it reads back) is made there and copied
 * out. After each piece the task lets others go first.
 *
 * A bench (zstd context and the two private pieces) belongs to one task at a time. Idle ones wait in a list per worker:
 * a fiber never changes its worker, so only one thread touches a list and it needs no lock. All of it, zstd's own too,
 * is the runtime's private memory.
 */
#include <errno.h>
#include <string.h>

#define ZSTD_STATIC_LINKING_ONLY /* for create*_advanced() alone: in the library since 0.8, unchanged since */
#include <zstd.h>
#include <zstd_errors.h>

#include <chimaera/counters.h>
#include <chimaera/modules/compress.h>
#include <chimaera/module.h>

#define LANES_PER_QUEUE	 4u
#define IDLE_BENCHES_MAX 4u		     /* per worker: a burst's benches are given back */
#define KEPT_BYTES_MAX	 (UINT64_C(8) << 20) /* of an idle zstd context; those of high levels take some 80 MiB */
#define PIECE		 CHI_COMPRESS_PIECE_BYTES

struct bench {
	struct bench *next;
	ZSTD_CCtx *cctx; /* each made at its first use */
	ZSTD_DCtx *dctx;
	unsigned char *in;
	unsigned char *out;
};

struct idle_benches {
	struct bench *first;
	uint32_t n;
} HSHM_ALIGNED(64); /* as chi_alloc() does */

struct state {
	struct chi_client *client; /* borrowed: whose memory all this is */
	struct idle_benches idle[CHI_WORKERS_MAX];
};

/* One pass over a task's buffers. */
struct pass {
	struct chi_run_context *context;
	struct bench *bench;
	const unsigned char *in;
	unsigned char *out;
	uint64_t in_bytes, in_done;
	uint64_t out_max, out_done;
	bool copy_in;  /* others can write the input */
	bool copy_out; /* others can write the output */
};

/* ---- benches ---- */

static void *zstd_alloc(void *client, size_t size_bytes)
{
	void *memory;

	return chi_alloc(client, size_bytes, &memory) ? NULL : memory;
}

static void zstd_free(void *client, void *memory)
{
	chi_free(client, memory);
}

static ZSTD_customMem zstd_memory(const struct state *state)
{
	return (ZSTD_customMem){ zstd_alloc, zstd_free, state->client };
}

static void bench_free(struct state *state, struct bench *bench)
{
	ZSTD_freeCCtx(bench->cctx);
	ZSTD_freeDCtx(bench->dctx);
	chi_free(state->client, bench->in);
	chi_free(state->client, bench->out);
	chi_free(state->client, bench);
}

static int bench_get(struct state *state, uint32_t worker, struct bench **ret_bench)
{
	struct idle_benches *idle = &state->idle[worker];
	int rc;

	if (!idle->first) {
		rc = chi_alloc(state->client, sizeof(**ret_bench), ret_bench);
		if (!rc)
			memset(*ret_bench, 0, sizeof(**ret_bench));
		return rc;
	}
	*ret_bench = idle->first;
	idle->first = idle->first->next;
	idle->n--;
	return 0;
}

static void bench_put(struct state *state, uint32_t worker, struct bench *bench)
{
	struct idle_benches *idle = &state->idle[worker];

	if (idle->n >= IDLE_BENCHES_MAX || ZSTD_sizeof_CCtx(bench->cctx) > KEPT_BYTES_MAX ||
	    ZSTD_sizeof_DCtx(bench->dctx) > KEPT_BYTES_MAX) {
		bench_free(state, bench);
		return;
	}
	bench->next = idle->first;
	idle->first = bench;
	idle->n++;
}

/* What this pass needs and the bench has not got yet. */
static int bench_equip(const struct state *state, struct bench *bench, const struct pass *pass, bool packs)
{
	int rc = 0;

	if (packs && !bench->cctx)
		bench->cctx = ZSTD_createCCtx_advanced(zstd_memory(state));
	if (!packs && !bench->dctx)
		bench->dctx = ZSTD_createDCtx_advanced(zstd_memory(state));
	if (packs ? !bench->cctx : !bench->dctx)
		rc = -ENOMEM;
	if (!rc && pass->copy_in && !bench->in)
		rc = chi_alloc(state->client, PIECE, &bench->in);
	if (!rc && pass->copy_out && !bench->out)
		rc = chi_alloc(state->client, chi_compress_bound_bytes(PIECE), &bench->out);
	return rc;
}

/* ---- passes ---- */

static bool is_shared(const struct chi_buffer *buffer)
{
	/* a pointer of this kind is never taken from another process */
	return hipc_ptr_segment(buffer->ptr) != HIPC_SEGMENT_LOCAL;
}

static void pass_begin(struct pass *pass, struct chi_compress_task *task, struct chi_run_context *context,
		       struct bench *bench)
{
	memset(pass, 0, sizeof(*pass));
	pass->context = context;
	pass->bench = bench;
	pass->in = chi_context_buffer(context, &task->in);
	pass->in_bytes = pass->in ? task->in.size_bytes : 0;
	pass->out = chi_context_buffer(context, &task->out);
	pass->out_max = pass->out ? task->out.size_bytes : 0;
	pass->copy_in = is_shared(&task->in);
	pass->copy_out = is_shared(&task->out);
}

/* The next piece of the input, private. */
static ZSTD_inBuffer pass_input(struct pass *pass)
{
	uint64_t rest = pass->in_bytes - pass->in_done;
	ZSTD_inBuffer input = { pass->in ? pass->in + pass->in_done : NULL, rest < PIECE ? rest : PIECE, 0 };

	if (pass->copy_in && input.size) {
		memcpy(pass->bench->in, input.src, input.size);
		input.src = pass->bench->in;
	}
	pass->in_done += input.size;
	return input;
}

/* Room for the next output, private. */
static ZSTD_outBuffer pass_output(struct pass *pass)
{
	uint64_t rest = pass->out_max - pass->out_done;
	uint64_t private_max = chi_compress_bound_bytes(PIECE);

	if (!pass->copy_out)
		return (ZSTD_outBuffer){ pass->out ? pass->out + pass->out_done : NULL, rest, 0 };
	return (ZSTD_outBuffer){ pass->bench->out, rest < private_max ? rest : private_max, 0 };
}

static void pass_emit(struct pass *pass, const ZSTD_outBuffer *output)
{
	if (pass->copy_out && output->pos)
		memcpy(pass->out + pass->out_done, output->dst, output->pos);
	pass->out_done += output->pos;
}

/* Between two pieces: 0 to go on. */
static int pass_pause(struct pass *pass)
{
	if (chi_cancelled(pass->context))
		return -ECANCELED;
	chi_yield();
	return 0;
}

static void compress_begin(struct bench *bench, const struct chi_compress_task *task, uint64_t in_bytes)
{
	ZSTD_CCtx_reset(bench->cctx, ZSTD_reset_session_and_parameters);
	/* these fail for values out of range only, and level and size have been checked */
	ZSTD_CCtx_setParameter(bench->cctx, ZSTD_c_compressionLevel, task->level);
	ZSTD_CCtx_setParameter(bench->cctx, ZSTD_c_checksumFlag, !(task->flags & CHI_COMPRESS_NO_CHECKSUM));
	ZSTD_CCtx_setPledgedSrcSize(bench->cctx, in_bytes);
}

static int error_of(size_t code, int otherwise)
{
	return ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation ? -ENOMEM : otherwise;
}

static int compress_pass(struct pass *pass, struct chi_compress_task *task)
{
	int rc = 0;

	compress_begin(pass->bench, task, pass->in_bytes);
	while (!rc) {
		ZSTD_inBuffer input = pass_input(pass);
		bool last = pass->in_done == pass->in_bytes;
		size_t left;

		do {
			ZSTD_outBuffer output = pass_output(pass);

			left = ZSTD_compressStream2(pass->bench->cctx, &output, &input,
						    last ? ZSTD_e_end : ZSTD_e_continue);
			if (ZSTD_isError(left))
				return error_of(left, -ENOSPC);
			pass_emit(pass, &output);
			if (pass->out_done == pass->out_max && (last ? left != 0 : input.pos < input.size))
				return -ENOSPC;
		} while (last ? left != 0 : input.pos < input.size);
		if (last) {
			task->out_bytes = pass->out_done;
			return 0;
		}
		rc = pass_pause(pass);
	}
	return rc;
}

/* What the frame's header promises; the input is private. */
static int frame_content_size(const ZSTD_inBuffer *input, uint64_t *ret_bytes)
{
	unsigned long long bytes = ZSTD_getFrameContentSize(input->src, input->size);

	if (bytes == ZSTD_CONTENTSIZE_ERROR || bytes == ZSTD_CONTENTSIZE_UNKNOWN)
		return -EBADMSG;
	*ret_bytes = bytes;
	return 0;
}

static void decompress_begin(struct bench *bench)
{
	ZSTD_DCtx_reset(bench->dctx, ZSTD_reset_session_and_parameters);
	/* a header of a few bytes must not make us allocate more than this */
	ZSTD_DCtx_setParameter(bench->dctx, ZSTD_d_windowLogMax, CHI_COMPRESS_WINDOW_LOG_MAX);
}

static int decompress_pass(struct pass *pass, struct chi_compress_task *task)
{
	ZSTD_inBuffer input = pass_input(pass);
	uint64_t content_bytes = 0;
	int rc = frame_content_size(&input, &content_bytes);

	if (rc)
		return rc;
	task->out_bytes = content_bytes;
	if (content_bytes > pass->out_max)
		return -ENOSPC;
	pass->out_max = content_bytes; /* a frame that holds more than it says is corrupt */
	decompress_begin(pass->bench);
	while (!rc) {
		ZSTD_outBuffer output = pass_output(pass);
		size_t before = input.pos;
		size_t left = ZSTD_decompressStream(pass->bench->dctx, &output, &input);
		bool moved = input.pos > before || output.pos > 0;

		if (ZSTD_isError(left))
			return error_of(left, -EBADMSG);
		pass_emit(pass, &output);
		if (left == 0) {
			bool all = input.pos == input.size && pass->in_done == pass->in_bytes &&
				   pass->out_done == content_bytes;
			return all ? 0 : -EBADMSG;
		}
		rc = pass_pause(pass);
		if (rc)
			break;
		if (input.pos == input.size && pass->in_done < pass->in_bytes)
			input = pass_input(pass);
		else if (!moved)
			return -EBADMSG; /* cut, or more content than promised: it would go on like this for ever */
	}
	return rc;
}

/* ---- methods ---- */

/* Both directions: a bench, what it needs, the pass. */
static int run_pass(struct chi_container *container, struct chi_compress_task *task, struct chi_run_context *context,
		    int (*run)(struct pass *pass, struct chi_compress_task *task))
{
	struct state *state = chi_container_state(container);
	uint32_t worker = chi_context_worker(context);
	struct bench *bench;
	struct pass pass;
	int rc = bench_get(state, worker, &bench);

	if (rc)
		return rc;
	pass_begin(&pass, task, context, bench);
	rc = bench_equip(state, bench, &pass, run == compress_pass);
	if (!rc)
		rc = run(&pass, task);
	bench_put(state, worker, bench);
	return rc;
}

static int method_compress(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_compress_task *task = (struct chi_compress_task *)base;

	task->out_bytes = 0;
	if (task->level < CHI_COMPRESS_LEVEL_MIN || task->level > CHI_COMPRESS_LEVEL_MAX ||
	    (task->flags & ~(uint32_t)CHI_COMPRESS_NO_CHECKSUM))
		return -EINVAL;
	return run_pass(container, task, context, compress_pass);
}

static int method_decompress(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_compress_task *task = (struct chi_compress_task *)base;

	task->out_bytes = 0;
	return task->flags ? -EINVAL : run_pass(container, task, context, decompress_pass);
}

static int method_bound(struct chi_container *container, struct chi_task *base, struct chi_run_context *context)
{
	struct chi_compress_bound_task *task = (struct chi_compress_bound_task *)base;

	(void)container;
	(void)context;
	if (task->in_bytes > HIPC_OFFSET_MAX)
		return -EINVAL; /* no buffer can be that long */
	task->out_bytes = chi_compress_bound_bytes(task->in_bytes);
	return 0;
}

static void compress_destroy(struct chi_container *container)
{
	struct state *state = chi_container_state(container);

	if (!state)
		return;
	for (uint32_t i = 0; i < CHI_WORKERS_MAX; i++) {
		struct bench *bench = state->idle[i].first;

		while (bench) {
			struct bench *next = bench->next;

			bench_free(state, bench);
			bench = next;
		}
	}
	chi_free(state->client, state);
	chi_container_set_state(container, NULL);
}

static int compress_create(struct chi_container *container, const void *params, uint64_t params_size)
{
	struct state *state;
	int rc;

	(void)params;
	if (params_size)
		return -EINVAL; /* there are none */
	/* a small block must not wait behind another task's megabytes */
	rc = chi_container_create_local_queue(container, 0, LANES_PER_QUEUE, 0);
	if (!rc)
		rc = chi_container_create_local_queue(container, 1, LANES_PER_QUEUE, CHI_QUEUE_HIGH_LATENCY);
	if (rc)
		return rc;
	rc = chi_alloc(chi_container_client(container), sizeof(*state), &state);
	if (rc)
		return rc;
	memset(state, 0, sizeof(*state));
	state->client = chi_container_client(container);
	chi_container_set_state(container, state);
	return 0;
}

static const struct chi_method methods[] = {
	CHI_METHOD_ENTRY(chi_compress, "compress", CHI_COMPRESS_COMPRESS, .run = method_compress),
	CHI_METHOD_ENTRY(chi_compress, "decompress", CHI_COMPRESS_DECOMPRESS, .run = method_decompress),
	CHI_METHOD_ENTRY(chi_compress_bound, "bound", CHI_COMPRESS_BOUND, .run = method_bound, .estimate_ns = 1000),
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = CHI_COMPRESS_MODULE,
	.version = 1,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.interface_hash = CHI_COMPRESS_INTERFACE_HASH,
	.methods = methods,
	.create = compress_create,
	.destroy = compress_destroy,
};

CHI_MODULE(module);
