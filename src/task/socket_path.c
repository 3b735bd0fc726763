/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socket_path.c - where a runtime's socket is
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chimaera/admin.h>

#include "task/counters_layout.h"
#include "task/error.h"
#include "task/socket_path.h"

#define FOLDERS 3

struct folders {
	char paths[FOLDERS][PATH_MAX]; /* "" = does not apply */
};

static void list_folders(struct folders *folders)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	const char *tmp = getenv("TMPDIR");
	unsigned int uid = geteuid();

	/* the standard says that a relative one is to be ignored */
	folders->paths[0][0] = '\0';
	if (xdg && xdg[0] == '/')
		snprintf(folders->paths[0], PATH_MAX, "%s/chimaera", xdg);
	snprintf(folders->paths[1], PATH_MAX, "/run/chimaera-%u", uid);
	snprintf(folders->paths[2], PATH_MAX, "%s/chimaera-%u", tmp && tmp[0] == '/' ? tmp : "/tmp", uid);
}

/* -EPERM: it is another user's. */
static int check_folder(const char *folder)
{
	struct stat st;

	/* lstat: a symbolic link would let another user choose the place later. What we cannot even look at
	 * (XDG_RUNTIME_DIR after su is another user's) has no socket for us. */
	if (lstat(folder, &st) < 0)
		return -ENOENT;
	if (st.st_uid != geteuid())
		return chi_error_set(-EPERM, "%s belongs to user %u, not to us (%u)", folder, (unsigned int)st.st_uid,
				     (unsigned int)geteuid());
	if (!S_ISDIR(st.st_mode))
		return chi_error_set(-EACCES, "%s is not a folder", folder);
	if (st.st_mode & 0077)
		return chi_error_set(-EACCES, "%s has mode %04o: others may enter it; make it 0700", folder,
				     (unsigned int)(st.st_mode & 07777));
	return 0;
}

static bool name_is_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length >= CHI_NAME_MAX || name[0] == '.')
		return false;
	/* not isalnum(): in some locales it takes more than ASCII */
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

static int join(const char *folder, const char *name, struct chi_socket_path *ret_path)
{
	int length = snprintf(ret_path->path, sizeof(ret_path->path), "%s/%s.sock", folder, name);

	if (length < 0 || (size_t)length >= sizeof(ret_path->path))
		return chi_error_set(-EINVAL, "%s/%s.sock is too long: a socket's path has at most %zu bytes", folder,
				     name, sizeof(ret_path->path) - 1);
	ret_path->given = false;
	return 0;
}

void chi_socket_sibling(const char *socket_path, const char *suffix, char ret_path[PATH_MAX])
{
	size_t length = strlen(socket_path);

	if (length > 5 && strcmp(socket_path + length - 5, ".sock") == 0)
		length -= 5;
	snprintf(ret_path, PATH_MAX, "%.*s%s", (int)length, socket_path, suffix);
}

/* Has the folder what is looked for? errno is lstat()'s. */
static bool is_there(const struct chi_socket_path *found, enum chi_socket_path_use use)
{
	char counters[PATH_MAX];
	struct stat st;

	if (use != CHI_SOCKET_FIND_COUNTERS)
		return lstat(found->path, &st) == 0;
	chi_socket_sibling(found->path, CHI_COUNTERS_SUFFIX, counters);
	return lstat(counters, &st) == 0;
}

static int use_folder(const char *folder, const char *name, enum chi_socket_path_use use,
		      struct chi_socket_path *ret_path)
{
	struct chi_socket_path found;
	int rc;

	if (use == CHI_SOCKET_MAKE && mkdir(folder, 0700) < 0 && errno != EEXIST)
		return -ENOENT; /* whatever the reason: the next folder may do */
	rc = check_folder(folder);
	if (rc == 0)
		rc = join(folder, name, &found);
	if (rc < 0)
		return rc;
	if (use != CHI_SOCKET_MAKE && !is_there(&found, use))
		return -ENOENT;
	*ret_path = found;
	return 0;
}

/* ---- the folder that several users share ---- */

/* Where anybody could have made our folder, it says nothing about who is in it. */
static bool root_guards_shared_folder(void)
{
	struct stat st;

	return lstat("/run", &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 && !(st.st_mode & 0022);
}

/* -EPERM: we may not look. */
static int find_shared(const char *name, enum chi_socket_path_use use, struct chi_socket_path *ret_path)
{
	struct chi_socket_path found;
	struct stat st;
	int rc;

	if (!root_guards_shared_folder() || lstat(CHI_SHARED_FOLDER, &st) < 0)
		return -ENOENT;
	if (!S_ISDIR(st.st_mode) || (st.st_mode & 0022))
		return chi_error_set(-EACCES, "%s is no folder in which its owner alone may write: not trusted",
				     CHI_SHARED_FOLDER);
	rc = join(CHI_SHARED_FOLDER, name, &found);
	if (rc < 0)
		return rc;
	if (!is_there(&found, use))
		return errno == EACCES ? -EPERM : -ENOENT;
	*ret_path = found;
	return 0;
}

static int refuse_shared(gid_t group, const char *why)
{
	return chi_error_set(-EACCES,
			     "%s: %s; a runtime with a group needs it: install -d -m 0750 -o %u -g %u %s (as root)",
			     CHI_SHARED_FOLDER, why, (unsigned int)geteuid(), (unsigned int)group, CHI_SHARED_FOLDER);
}

static int make_shared_folder(gid_t group)
{
	struct stat st;

	if (!root_guards_shared_folder())
		return refuse_shared(group, "others than root may write in /run");
	if (mkdir(CHI_SHARED_FOLDER, 0700) < 0 && errno != EEXIST)
		return refuse_shared(group, strerror(errno));
	if (lstat(CHI_SHARED_FOLDER, &st) < 0)
		return refuse_shared(group, strerror(errno));
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return refuse_shared(group, "not a folder of ours");
	/* made just now, or kept for us: nobody else could enter it so far */
	if ((st.st_mode & 07777) == 0700) {
		if (chown(CHI_SHARED_FOLDER, (uid_t)-1, group) < 0 || chmod(CHI_SHARED_FOLDER, 0750) < 0)
			return refuse_shared(group, strerror(errno));
		return 0;
	}
	if (st.st_gid != group)
		return refuse_shared(group, "it is another group's");
	if ((st.st_mode & 0737) != 0710)
		return refuse_shared(group, "its mode lets in others than the group, or not the group");
	return 0;
}

/* ---- from a name to a path ---- */

static int check_name(const char *name)
{
	if (name_is_valid(name))
		return 0;
	return chi_error_set(-EINVAL,
			     "'%s' is no name of a runtime: 1 to %u letters, digits, '.', '_' or '-', no '.' in front",
			     name, CHI_NAME_MAX - 1);
}

int chi_socket_path_make_shared(const char *name, gid_t group, struct chi_socket_path *ret_path)
{
	int rc = check_name(name);

	if (rc == 0)
		rc = make_shared_folder(group);
	return rc < 0 ? rc : join(CHI_SHARED_FOLDER, name, ret_path);
}

static int use_given_path(const char *path, struct chi_socket_path *ret_path)
{
	size_t length = strlen(path);

	if (length >= sizeof(ret_path->path))
		return chi_error_set(-EINVAL, "%s is too long: a socket's path has at most %zu bytes", path,
				     sizeof(ret_path->path) - 1);
	memcpy(ret_path->path, path, length + 1);
	ret_path->given = true;
	return 0;
}

static int refuse_foreign(const char *why)
{
	return chi_error_set(-EACCES,
			     "%s: set XDG_RUNTIME_DIR to a folder of ours, or let root make /run/chimaera-%u: "
			     "install -d -m 0700 -o %u /run/chimaera-%u",
			     why, (unsigned int)geteuid(), (unsigned int)geteuid(), (unsigned int)geteuid());
}

int chi_socket_path(const char *name, enum chi_socket_path_use use, struct chi_socket_path *ret_path)
{
	char foreign[256] = "";
	struct folders folders;
	int rc;

	if (!name)
		name = getenv("CHIMAERA_NAME");
	if (!name || !name[0])
		name = "default";
	if (strchr(name, '/'))
		return use_given_path(name, ret_path);
	rc = check_name(name);
	if (rc < 0)
		return rc;

	list_folders(&folders);
	for (int i = 0; i < FOLDERS; i++) {
		if (!folders.paths[i][0])
			continue;
		rc = use_folder(folders.paths[i], name, use, ret_path);
		if (rc == -EPERM) {
			/* anybody can make one in /tmp: there is no socket of ours in it, but maybe elsewhere */
			snprintf(foreign, sizeof(foreign), "; %s", chi_error_text());
			rc = use == CHI_SOCKET_MAKE ? refuse_foreign(foreign + 2) : -ENOENT;
		}
		if (rc != -ENOENT)
			return rc;
	}
	if (use == CHI_SOCKET_MAKE)
		return chi_error_set(-ENOENT, "no folder for the socket of '%s': cannot make %s%s%s and %s", name,
				     folders.paths[0], folders.paths[0][0] ? ", " : "", folders.paths[1],
				     folders.paths[2]);
	rc = find_shared(name, use, ret_path);
	if (rc != -ENOENT && rc != -EPERM)
		return rc;
	return chi_error_set(-ENOENT, "no runtime named '%s': no socket in %s%s%s, %s and %s%s%s", name,
			     folders.paths[0], folders.paths[0][0] ? ", " : "", folders.paths[1], folders.paths[2],
			     CHI_SHARED_FOLDER, rc == -EPERM ? " (which is not open to us)" : "", foreign);
}
