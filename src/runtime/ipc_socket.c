/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_socket.c - the runtime's name in the file system, and the rights of those who connect
 *
 * The socket's file outlives a runtime that was killed. A new one of that name tells a living from a dead by
 * connecting: the dead refuse. Two that start at once would each find the other's file, so the look, the unlink and the
 * bind are done under a lock on NAME.lock. The lock's file goes with the lock; who had opened it before finds that it
 * is no longer the one of that name, and begins again.
 */
#include "runtime/ipc_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "runtime/log.h"
#include "task/error.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5; the C library's headers may be older */
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* Linux 4.13 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

#define BACKLOG		128
#define LOCK_SUFFIX	".lock"
#define LOCK_WAIT_NS	(2 * HSHM_NSEC_PER_SEC)
#define LOCK_RETRY_US	1000u
#define GROUP_BYTES_MAX (1u << 20)

/* ---- the lock ---- */

static bool is_file_of_name(int fd, const char *path)
{
	struct stat mine, named;

	return fstat(fd, &mine) == 0 && lstat(path, &named) == 0 && mine.st_dev == named.st_dev &&
	       mine.st_ino == named.st_ino;
}

int chi_ipc_name_lock(const char *socket_path, int *ret_fd)
{
	uint64_t deadline_ns = hshm_deadline_ns(LOCK_WAIT_NS);
	char path[PATH_MAX];

	chi_socket_sibling(socket_path, LOCK_SUFFIX, path);
	for (;;) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

		if (fd < 0)
			return chi_error_set(errno == EMFILE || errno == ENOENT ? -errno : -EACCES, "%s: %s", path,
					     strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_file_of_name(fd, path)) {
			*ret_fd = fd;
			return 0;
		}
		close(fd);
		if (hshm_clock_ns() >= deadline_ns)
			return chi_error_set(-EADDRINUSE,
					     "%s is held: another runtime of that name is starting or ending", path);
		HSHM_THREAD_MODEL->sleep_for_us(LOCK_RETRY_US);
	}
}

void chi_ipc_name_unlock(const char *socket_path, int fd)
{
	char path[PATH_MAX];

	chi_socket_sibling(socket_path, LOCK_SUFFIX, path);
	unlink(path);
	close(fd);
}

void chi_ipc_file_remove(const char *socket_path, const char *path, dev_t device, ino_t inode)
{
	struct stat st;
	int lock_fd = -1;

	if (chi_ipc_name_lock(socket_path, &lock_fd) < 0) {
		chi_log_warn("%s stays, the next runtime of that name removes it: %s", path, chi_error_text());
		return;
	}
	if (lstat(path, &st) == 0 ? st.st_dev == device && st.st_ino == inode && unlink(path) < 0 : errno != ENOENT)
		chi_log_warn("%s stays, the next runtime of that name removes it: %s", path, strerror(errno));
	chi_ipc_name_unlock(socket_path, lock_fd);
}

/* ---- the name ---- */

static void fill_address(const char *path, struct sockaddr_un *ret_address)
{
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret_address->sun_path, path, strlen(path) + 1);
}

static int in_use(const char *path, int probe)
{
	struct chi_ipc_credentials owner = { 0 };

	if (probe >= 0 && chi_ipc_credentials(probe, &owner) == 0 && owner.pid > 0)
		return chi_error_set(-EADDRINUSE, "a runtime lives at %s already (pid %d)", path, (int)owner.pid);
	return chi_error_set(-EADDRINUSE, "a program listens at %s already", path);
}

/* Has the process that listens ended, and a child that it forked holds the socket? */
static bool listener_is_dead(int probe)
{
	struct chi_ipc_credentials owner = { 0 };

	return chi_ipc_credentials(probe, &owner) == 0 && owner.pid > 0 && kill(owner.pid, 0) < 0 && errno == ESRCH;
}

/* Under the lock: the name is free afterwards, or -EADDRINUSE, -EACCES, -EMFILE. */
static int clear_name(const char *path)
{
	struct sockaddr_un address;
	struct stat st;
	int probe, rc = 0;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : chi_error_set(-EACCES, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return chi_error_set(-EADDRINUSE, "%s is there already, and is no socket", path);

	probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return chi_error_set(-EMFILE, "socket: %s", strerror(errno));
	fill_address(path, &address);
	if (connect(probe, (struct sockaddr *)&address, sizeof(address)) == 0) {
		if (!listener_is_dead(probe))
			rc = in_use(path, probe);
	} else if (errno != ECONNREFUSED && errno != ENOENT) {
		rc = in_use(path, -1); /* no room in its backlog, another kind of socket, or not for us */
	}
	close(probe);
	if (rc == 0 && unlink(path) < 0 && errno != ENOENT)
		rc = chi_error_set(-EACCES, "%s: cannot remove what a dead runtime left: %s", path, strerror(errno));
	return rc;
}

static int bind_name(struct chi_ipc_socket *new_socket)
{
	const char *path = new_socket->where.path;
	struct sockaddr_un address;
	struct stat st;

	fill_address(path, &address);
	/* before the bind: there is no moment in which the file has wider rights */
	fchmod(new_socket->fd, 0600);
	if (bind(new_socket->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return chi_error_set(errno == ENOENT || errno == EADDRINUSE || errno == ENOMEM ? -errno : -EACCES,
				     "%s: %s", path, strerror(errno));
	new_socket->named = true;
	if (lstat(path, &st) < 0)
		return chi_error_set(-EACCES, "%s: %s", path, strerror(errno));
	new_socket->device = st.st_dev;
	new_socket->inode = st.st_ino;
	if (new_socket->group != CHI_NO_GROUP &&
	    (chown(path, (uid_t)-1, new_socket->group) < 0 || chmod(path, 0660) < 0))
		return chi_error_set(-EACCES, "%s: cannot give it to group %u: %s", path,
				     (unsigned int)new_socket->group, strerror(errno));
	if (listen(new_socket->fd, BACKLOG) < 0)
		return chi_error_set(-ENOMEM, "listen: %s", strerror(errno));
	return 0;
}

int chi_ipc_socket_open(const char *name, gid_t group, struct chi_ipc_socket *ret_socket)
{
	struct chi_ipc_socket made = { .fd = -1, .group = group };
	int lock_fd = -1, rc;

	rc = group == CHI_NO_GROUP ? chi_socket_path(name, CHI_SOCKET_MAKE, &made.where)
				   : chi_socket_path_make_shared(name, group, &made.where);
	if (rc < 0)
		return rc;
	rc = chi_ipc_name_lock(made.where.path, &lock_fd);
	if (rc < 0)
		return rc;
	rc = clear_name(made.where.path);
	if (rc < 0)
		goto out;
	made.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (made.fd < 0) {
		rc = chi_error_set(-EMFILE, "socket: %s", strerror(errno));
		goto out;
	}
	chi_ipc_refuse_fds(made.fd); /* those it accepts inherit it: also before we have accepted them */
	rc = bind_name(&made);
	if (rc < 0) {
		if (made.named)
			unlink(made.where.path);
		close(made.fd);
		goto out;
	}
	*ret_socket = made;
out:
	chi_ipc_name_unlock(made.where.path, lock_fd);
	return rc;
}

void chi_ipc_socket_remove(struct chi_ipc_socket *socket)
{
	if (!socket->named)
		return;
	socket->named = false;
	chi_ipc_file_remove(socket->where.path, socket->where.path, socket->device, socket->inode);
	shutdown(socket->fd, SHUT_RDWR);
}

void chi_ipc_socket_close(struct chi_ipc_socket *socket)
{
	if (socket->fd >= 0)
		close(socket->fd);
	socket->fd = -1;
}

/* ---- who may ---- */

int chi_ipc_group(const char *name, gid_t *ret_group)
{
	struct group entry, *found = NULL;
	size_t bytes = 4096;

	*ret_group = CHI_NO_GROUP;
	if (!name[0])
		return 0;
	for (;;) {
		char *buffer = malloc(bytes);
		int error = buffer ? getgrnam_r(name, &entry, buffer, bytes, &found) : ENOMEM;

		free(buffer);
		if (error == ERANGE && bytes < GROUP_BYTES_MAX) {
			bytes *= 4;
			continue;
		}
		if (error || !found)
			return chi_error_set(-EINVAL, "group '%s': %s", name,
					     error ? strerror(error) : "there is none");
		*ret_group = entry.gr_gid;
		return 0;
	}
}

int chi_ipc_credentials(int socket, struct chi_ipc_credentials *ret_credentials)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return -errno;
	*ret_credentials = (struct chi_ipc_credentials){ peer.pid, peer.uid, peer.gid };
	return 0;
}

/* The groups that the peer had when it connected, from the kernel: the user data base could block us for seconds. */
static bool peer_has_group(int socket, gid_t group)
{
	socklen_t length = 64 * sizeof(gid_t);
	gid_t *groups = NULL;
	bool found = false;
	int rc;

	do {
		gid_t *larger = realloc(groups, length);

		if (!larger)
			break;
		groups = larger;
		rc = getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &length);
		for (size_t i = 0; rc == 0 && i < length / sizeof(gid_t); i++)
			found |= groups[i] == group;
	} while (rc < 0 && errno == ERANGE);
	free(groups);
	return found;
}

bool chi_ipc_may_attach(int socket, const struct chi_ipc_credentials *peer, gid_t group)
{
	if (peer->uid == geteuid())
		return true;
	return group != CHI_NO_GROUP && (peer->gid == group || peer_has_group(socket, group));
}

void chi_ipc_refuse_fds(int socket)
{
	int off = 0;

	/* older kernels do not know it: the receiver must be careful by itself */
	(void)setsockopt(socket, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

int chi_ipc_pidfd(int socket, pid_t pid, int *ret_pidfd)
{
	socklen_t length = sizeof(*ret_pidfd);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, ret_pidfd, &length) == 0)
		return 0;
	if (errno == EMFILE || errno == ENFILE)
		return -EMFILE;
	if (pid <= 0) /* of another pid namespace */
		return -ENOTSUP;
	*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*ret_pidfd >= 0)
		return 0;
	return errno == ESRCH ? -ESRCH : errno == EMFILE || errno == ENFILE ? -EMFILE : -ENOTSUP;
}
