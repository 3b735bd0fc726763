/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chimaera/runtime.h - a runtime inside the application's own process (libchimaera-runtime only)
 */
#ifndef CHIMAERA_RUNTIME_H
#define CHIMAERA_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

#include <chimaera/admin.h>
#include <chimaera/cdefs.h>
#include <chimaera/client.h>
#include <chimaera/module.h>

CHI_BEGIN_DECLS

struct chi_runtime; /* opaque */

struct chi_runtime_opts {
	uint32_t size;		     /* sizeof at the caller's compile time */
	bool listen;		     /* accept other processes under the configured name; else only this process */
	const char *config_file;     /* chimaera.yaml; NULL = built-in defaults */
	const char *config_text;     /* YAML text instead of a file; for tests and small programs */
	const char *name;	     /* overrides the configuration's name */
	bool environment;	     /* let variables such as CHIMAERA_WORKERS_COUNT override the file */
	const char *const *settings; /* "KEY=VALUE" ..., the last one NULL: override file and environment */
	bool log_beside_socket;	     /* without a log_file the log goes to NAME.log beside the socket, not to stderr */
	bool handle_faults;	     /* handle SIGSEGV, SIGBUS, SIGURG; else no handler is installed: see below */
};
#define CHI_RUNTIME_OPTS(...) ((struct chi_runtime_opts){ .size = sizeof(struct chi_runtime_opts), __VA_ARGS__ })

/**
 * chi_runtime_start - start workers; when it returns 0, tasks can be served
 * @opts:        borrowed; NULL = all defaults
 * @ret_runtime: out; release with chi_runtime_stop()
 *
 * handle_faults: a stack overflow or another SIGSEGV in a method says which module and method, and a SIGBUS in a
 * client's segment (a client can punch holes into its memory) ends that client instead of this process. By SIGURG the
 * watchdog (watchdog.hang_ms) asks a worker that hangs for its stack; without it the log names pool, module and method
 * alone. The handlers are installed once for all runtimes of the process that ask, and taken back by the last; what is
 * not ours goes to the handler that was there before, or the signal kills as it would have. Without it the
 * application's signals are its own, and with @listen a hostile client can end the process: listen for trusted ones
 * only.
 * Threads: any. Several runtimes may live in one process. May switch the fiber: no.
 * Returns: 0, -EINVAL (configuration: chi_error_text() names file, line and key), -EADDRINUSE (a runtime of that name
 *          lives), -EACCES, -ENOMEM, -EMFILE, -EAGAIN (threads).
 */
CHI_API CHI_NODISCARD int chi_runtime_start(const struct chi_runtime_opts *opts, struct chi_runtime **ret_runtime);

/**
 * chi_runtime_client - a client of a runtime in this process; the same calls as after chi_client_connect()
 * @ret_client: out; release with chi_client_disconnect(), before or after the runtime's stop
 *
 * Returns: as chi_client_connect().
 */
CHI_API CHI_NODISCARD int chi_runtime_client(struct chi_runtime *runtime, const struct chi_client_opts *opts,
					     struct chi_client **ret_client);

/**
 * chi_runtime_stop - take no more tasks, wait for those in flight, end
 * @runtime:        given; NULL is accepted
 * @timeout_ns:     for the tasks in flight; 0 = the configured stop_timeout
 * @ret_n_given_up: out, may be NULL; tasks that had not ended by then; the log tells them by pool, module and method
 *
 * The modules' destroy() has the same time again, and a second more. Until the end the name stays taken; who connects
 * is told -ESHUTDOWN.
 * Threads: one, not a worker. May switch the fiber: no.
 * Returns: 0; -ETIMEDOUT: some were given up, the runtime has ended all the same; -EBUSY: besides, a method neither
 *          returns nor waits, a second after that. It cannot be taken off its worker: the log names worker, pool,
 *          module, method and task. Clients are hung up on, the name is free, but that thread, the runtime's memory,
 *          its modules and its signal handlers stay until the process ends, which it had better do soon. @runtime is
 *          not the caller's any more.
 */
CHI_API int chi_runtime_stop(struct chi_runtime *runtime, uint64_t timeout_ns, uint64_t *ret_n_given_up);

/** chi_runtime_name - the name, as configured. Lent until chi_runtime_stop(). Threads: any. */
CHI_API const char *chi_runtime_name(const struct chi_runtime *runtime);

/** chi_runtime_socket - the path where other processes reach it, or NULL: it does not listen. Lent until
 * chi_runtime_stop(). */
CHI_API const char *chi_runtime_socket(const struct chi_runtime *runtime);

/** chi_runtime_log_file - where its log goes, or NULL: standard error. Lent until the next reload or stop. Threads: as
 * reload. */
CHI_API const char *chi_runtime_log_file(const struct chi_runtime *runtime);

/**
 * chi_runtime_reload - read file and environment again, and take what can change while it runs
 *
 * Keys marked live in docs/configuration.md are taken. Another key that has changed is named in the log and keeps its
 * value. The log's file is opened anew in any case.
 * Threads: one at a time, not while another stops it. May switch the fiber: no.
 * Returns: 0, or as chi_runtime_start() for a configuration that is refused: then no key is changed.
 */
CHI_API int chi_runtime_reload(struct chi_runtime *runtime);

/** chi_runtime_request_stop - what chi_stop() does, from this process: wakes chi_runtime_wait_stop(). Threads: any. */
CHI_API void chi_runtime_request_stop(struct chi_runtime *runtime);

/** chi_runtime_stop_requested - whether somebody has asked for a stop. Threads: any. */
CHI_API bool chi_runtime_stop_requested(const struct chi_runtime *runtime);

/** chi_runtime_wait_stop - sleep until a stop is asked for or @timeout_ns passed. Returns 0 or -ETIMEDOUT. */
CHI_API int chi_runtime_wait_stop(struct chi_runtime *runtime, uint64_t timeout_ns);

/* One key of the configuration. All texts are lent until the function that got them returns. */
struct chi_config_value {
	const char *key;    /* "workers.count" */
	const char *value;  /* as YAML in one line; but for plain words, such as info, it is JSON, too */
	const char *source; /* "default", "chimaera.yaml:3:14", "environment CHIMAERA_NAME", "--set name", "--name" */
	const char *default_value; /* as value */
	const char *unit;	   /* "" = none */
	const char *allowed;	   /* "0..64" */
	const char *meaning;
	const char *variable; /* of the environment */
	bool live;	      /* a daemon takes a change at SIGHUP; others need a restart */
};
typedef void chi_runtime_config_fn(const struct chi_config_value *value, void *arg);

/**
 * chi_runtime_config - the configuration that chi_runtime_start() would use with these options
 * @opts: borrowed; NULL = all defaults
 * @fn:   called for each key, in the order of the documentation, before this returns
 * @arg:  for @fn
 *
 * Threads: any. May switch the fiber: no.
 * Returns: 0, or as chi_runtime_start() for a configuration that is refused.
 */
CHI_API CHI_NODISCARD int chi_runtime_config(const struct chi_runtime_opts *opts, chi_runtime_config_fn *fn, void *arg);

/* What a module's file holds. All of it is lent until the function that got it returns. */
struct chi_module_description {
	const char *file;
	const char *name;
	uint32_t version; /* the module's own */
	uint32_t abi_version;
	uint64_t interface_hash; /* 0 = none */
	uint32_t n_methods;
	const struct chi_method *methods[CHI_METHODS_MAX]; /* the first n_methods, by id */
};
typedef void chi_module_describe_fn(const struct chi_module_description *description, void *arg);

/**
 * chi_module_describe - would a runtime take this file, and what is in it?
 * @path: borrowed; chimaera_NAME.so
 * @fn:   called once, before this returns 0
 *
 * The checks are those of a runtime, and so is the risk: when the file's note is right, it is loaded, and its
 * constructors run.
 * Threads: any. May switch the fiber: no.
 * Returns: 0, -EINVAL (no name of a module), -ELIBBAD (refused: chi_error_text() says why), -ENOMEM.
 */
CHI_API CHI_NODISCARD int chi_module_describe(const char *path, chi_module_describe_fn *fn, void *arg);

typedef void chi_module_found_fn(const char *path, void *arg);

/**
 * chi_module_find_all - the files in the folders where a runtime of this process would look for modules
 * @fn: called for each, in the order of the search: of several files of one name the first is the one that is taken
 *
 * Threads: any, but while another changes the environment. May switch the fiber: no.
 */
CHI_API void chi_module_find_all(chi_module_found_fn *fn, void *arg);

CHI_END_DECLS
#endif
