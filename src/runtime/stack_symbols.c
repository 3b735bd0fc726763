/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stack_symbols.c - names for the addresses of a stack, from the files that are mapped
 *
 * Not by dladdr(): it waits for the loader's lock, which a thread that hangs in a module's constructor holds; and it knows exported
 * functions alone, and methods are static. A file that is not the one mapped (replaced since) gives no names.
 */
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/thread_stack.h"

#define PATH_MAX_BYTES 256u
#define NAME_MAX_BYTES 128u

/* Where an address lies. */
struct place {
	uint64_t pc; /* inside the call, not behind it */
	uint64_t file_offset;
	ino_t inode; /* 0: no file */
	char path[PATH_MAX_BYTES];
};

struct symbol {
	char name[NAME_MAX_BYTES];
	uint64_t offset; /* of the address in it */
};

/* One pass, as there may be tens of thousands of lines. */
static void find_places(struct place *places, uint32_t n)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char *line = NULL;
	size_t size = 0;

	while (maps && getline(&line, &size, maps) > 0) {
		uint64_t start, end, offset;
		unsigned long inode;
		int path_at = 0;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*4c %" SCNx64 " %*s %lu %n", &start, &end, &offset, &inode,
			   &path_at) < 4)
			continue;
		for (uint32_t i = 0; i < n; i++) {
			struct place *place = &places[i];

			if (place->pc < start || place->pc >= end)
				continue;
			place->file_offset = place->pc - start + offset;
			place->inode = inode;
			snprintf(place->path, sizeof(place->path), "%s", line + path_at);
			place->path[strcspn(place->path, "\n")] = '\0';
		}
	}
	free(line);
	if (maps)
		fclose(maps);
}

static bool address_in_file(Elf *elf, uint64_t file_offset, uint64_t *ret_address)
{
	size_t n;

	if (elf_getphdrnum(elf, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr header;

		if (!gelf_getphdr(elf, (int)i, &header) || header.p_type != PT_LOAD ||
		    file_offset - header.p_offset >= header.p_filesz)
			continue;
		*ret_address = file_offset - header.p_offset + header.p_vaddr;
		return true;
	}
	return false;
}

static bool find_in_section(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, uint64_t address,
			    struct symbol *ret_symbol)
{
	Elf_Data *data = elf_getdata(section, NULL);
	GElf_Sym symbol;

	for (int i = 0; data && gelf_getsym(data, i, &symbol); i++) {
		const char *name;

		if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC || address - symbol.st_value >= symbol.st_size)
			continue;
		name = elf_strptr(elf, header->sh_link, symbol.st_name);
		if (!name)
			continue;
		snprintf(ret_symbol->name, sizeof(ret_symbol->name), "%s", name);
		ret_symbol->offset = address - symbol.st_value;
		return true;
	}
	return false;
}

/* In the full table if there is one, else among what is exported. */
static bool find_symbol(Elf *elf, uint64_t file_offset, struct symbol *ret_symbol)
{
	static const GElf_Word tables[] = { SHT_SYMTAB, SHT_DYNSYM };
	uint64_t address;

	if (!address_in_file(elf, file_offset, &address))
		return false;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		Elf_Scn *section = NULL;

		while ((section = elf_nextscn(elf, section))) {
			GElf_Shdr header;

			if (gelf_getshdr(section, &header) && header.sh_type == tables[i] &&
			    find_in_section(elf, section, &header, address, ret_symbol))
				return true;
		}
	}
	return false;
}

static bool find_in_file(const struct place *place, struct symbol *ret_symbol)
{
	bool found = false;
	struct stat st;
	Elf *elf;
	int fd;

	if (!place->inode)
		return false;
	fd = open(place->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && st.st_ino == place->inode && S_ISREG(st.st_mode)) {
		elf_version(EV_CURRENT);
		elf = elf_begin(fd, ELF_C_READ, NULL); /* read, not mapped: see module_note.c */
		found = elf && find_symbol(elf, place->file_offset, ret_symbol);
		elf_end(elf);
	}
	close(fd);
	return found;
}

static void describe(const struct place *place, uint64_t pc, char text[CHI_STACK_FRAME_TEXT])
{
	const char *slash = strrchr(place->path, '/');
	const char *file = slash ? slash + 1 : place->path;
	uint64_t behind = pc - place->pc;
	struct symbol symbol;

	if (!*file)
		snprintf(text, CHI_STACK_FRAME_TEXT, "0x%" PRIx64, pc);
	else if (find_in_file(place, &symbol))
		snprintf(text, CHI_STACK_FRAME_TEXT, "%s+0x%" PRIx64 " (%.80s+0x%" PRIx64 ")", symbol.name,
			 symbol.offset + behind, file, place->file_offset + behind);
	else
		snprintf(text, CHI_STACK_FRAME_TEXT, "%.80s+0x%" PRIx64, file, place->file_offset + behind);
}

void chi_stack_describe(const struct chi_stack *stack, char texts[][CHI_STACK_FRAME_TEXT])
{
	struct place places[CHI_STACK_DEPTH_MAX] = { 0 };

	/* all but the innermost are where a call returns to, which may be another function's first byte */
	for (uint32_t i = 0; i < stack->n; i++)
		places[i].pc = (uintptr_t)stack->pcs[i] - (i > 0);
	find_places(places, stack->n);
	for (uint32_t i = 0; i < stack->n; i++)
		describe(&places[i], (uintptr_t)stack->pcs[i], texts[i]);
}
