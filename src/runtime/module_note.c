/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * module_note.c - read a module's ABI version from its file, before anything in it can run
 *
 * libelf finds the places; the notes themselves are parsed here, every length checked against the bytes that are there:
 * the file may hold anything.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/module_manager.h"
#include "task/error.h"

#define NOTE_SECTION   ".note.chimaera"
#define NOTE_BYTES_MAX 65536u

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#else
#error "which ELF machine is this?"
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OUR_ORDER ELFDATA2LSB
#else
#define OUR_ORDER ELFDATA2MSB
#endif

/* Names and contents start at multiples of 4, in our note and in others of that segment. */
static uint64_t padded(uint32_t size)
{
	return ((uint64_t)size + 3) & ~UINT64_C(3);
}

static bool find_note(const unsigned char *bytes, uint64_t size, uint32_t *ret_version)
{
	Elf64_Nhdr note;

	while (size >= sizeof(note)) {
		uint64_t need;

		memcpy(&note, bytes, sizeof(note));
		need = sizeof(note) + padded(note.n_namesz) + padded(note.n_descsz);
		if (need > size)
			return false;
		if (note.n_type == CHI_NOTE_TYPE && note.n_namesz == sizeof(CHI_NOTE_NAME) &&
		    note.n_descsz == sizeof(*ret_version) &&
		    memcmp(bytes + sizeof(note), CHI_NOTE_NAME, sizeof(CHI_NOTE_NAME)) == 0) {
			memcpy(ret_version, bytes + sizeof(note) + padded(note.n_namesz), sizeof(*ret_version));
			return true;
		}
		bytes += need;
		size -= need;
	}
	return false;
}

/* The bytes of a part of the file, whatever they claim to be. */
static bool find_note_at(Elf *elf, uint64_t file_bytes, uint64_t offset, uint64_t size, uint32_t *ret_version)
{
	Elf_Data *data;

	if (size > NOTE_BYTES_MAX || offset > file_bytes || size > file_bytes - offset)
		return false;
	data = elf_getdata_rawchunk(elf, (int64_t)offset, size, ELF_T_BYTE);
	return data && data->d_buf && find_note(data->d_buf, data->d_size, ret_version);
}

static bool note_in_sections(Elf *elf, uint64_t file_bytes, uint32_t *ret_version)
{
	Elf_Scn *section = NULL;
	size_t names;

	if (elf_getshdrstrndx(elf, &names))
		return false;
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		const char *name;

		if (!gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS)
			continue;
		name = elf_strptr(elf, names, header.sh_name);
		if (name && strcmp(name, NOTE_SECTION) == 0 &&
		    find_note_at(elf, file_bytes, header.sh_offset, header.sh_size, ret_version))
			return true;
	}
	return false;
}

/* A stripped file may have no sections left; what is loaded still has its segments. */
static bool note_in_segments(Elf *elf, uint64_t file_bytes, uint32_t *ret_version)
{
	size_t n;

	if (elf_getphdrnum(elf, &n))
		return false;
	for (size_t i = 0; i < n && i < 4096; i++) {
		GElf_Phdr header;

		if (gelf_getphdr(elf, (int)i, &header) && header.p_type == PT_NOTE &&
		    find_note_at(elf, file_bytes, header.p_offset, header.p_filesz, ret_version))
			return true;
	}
	return false;
}

/* A file cut short maps like a whole one, and kills who touches what is not there. */
static bool is_whole(Elf *elf, uint64_t file_bytes)
{
	size_t n;

	if (elf_getphdrnum(elf, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr header;

		if (!gelf_getphdr(elf, (int)i, &header))
			return false;
		if (header.p_type == PT_LOAD &&
		    (header.p_offset > file_bytes || header.p_filesz > file_bytes - header.p_offset))
			return false;
	}
	return true;
}

static int check_elf(Elf *elf, uint64_t file_bytes, const char *path, uint32_t *ret_version)
{
	const char *ident = elf ? elf_getident(elf, NULL) : NULL;
	GElf_Ehdr header;
	uint32_t version = 0;

	if (!ident || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header))
		return chi_error_set(-ELIBBAD, "%s: no ELF file", path);
	if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != OUR_ORDER || header.e_machine != OUR_MACHINE)
		return chi_error_set(-ELIBBAD, "%s: built for another machine", path);
	if (header.e_type != ET_DYN)
		return chi_error_set(-ELIBBAD, "%s: no shared object", path);
	if (!is_whole(elf, file_bytes))
		return chi_error_set(-ELIBBAD, "%s: cut short: parts of it are missing", path);
	if (!note_in_sections(elf, file_bytes, &version) && !note_in_segments(elf, file_bytes, &version))
		return chi_error_set(-ELIBBAD, "%s: no module: it has no note %s (CHI_MODULE() makes it)", path,
				     NOTE_SECTION);
	*ret_version = version;
	if (version != CHI_ABI_VERSION)
		return chi_error_set(-ELIBBAD, "%s: built for module ABI %u, this runtime has %u: build it anew", path,
				     version, CHI_ABI_VERSION);
	return 0;
}

int chi_module_check_file(const char *path, uint32_t *ret_abi_version)
{
	struct stat st;
	Elf *elf;
	/* not blocking: somebody may have put a pipe there */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int error;

	if (fd < 0)
		return chi_error_set(-errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		error = chi_error_set(-ELIBBAD, "%s: no regular file", path);
	} else {
		elf_version(EV_CURRENT);
		/* read, not mapped: a file that shrinks meanwhile must not raise SIGBUS */
		elf = elf_begin(fd, ELF_C_READ, NULL);
		error = check_elf(elf, (uint64_t)st.st_size, path, ret_abi_version);
		elf_end(elf);
	}
	close(fd);
	return error;
}
