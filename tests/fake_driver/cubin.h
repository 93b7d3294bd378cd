// What a cubin says of its kernels: an ELF file whose sections .nv.info.NAME hold attributes, each
// (format, attribute, size or value, bytes), and .nv.shared.NAME the static shared memory.
#pragma once
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARAMETERS = 256, MAX_NAME = 160, RESERVED_SHARED = 1024 };
enum {  // attributes
  MAX_THREADS = 0x05, REQUIRED_BLOCK = 0x10, PARAMETER = 0x17, PARAMETERS_SIZE = 0x19, REGISTERS = 0x2f,
  BLOCKS_OF_CLUSTER = 0x3d, PARAMETER_V2 = 0x45
};

typedef struct { unsigned offset, size; } Parameter;
typedef struct {
  char name[MAX_NAME];
  unsigned symbol;                     // of the function, in .symtab
  unsigned parameters_size, n_parameters;
  Parameter parameters[MAX_PARAMETERS];
  unsigned max_threads, registers;     // of a block; of a thread; 0 where nothing is said
  unsigned block[3], cluster[3];       // that the code was compiled for; 0 where any will do
  unsigned shared;                     // static, bytes
} Kernel;
typedef struct {
  int arch;  // 90
  Kernel *kernels;
  size_t count;
} Cubin;

static uint32_t word_at(const unsigned char *p) {
  uint32_t value;
  return memcpy(&value, p, 4), value;
}

static uint16_t half_at(const unsigned char *p) {
  uint16_t value;
  return memcpy(&value, p, 2), value;
}

static void read_attribute(Kernel *k, int attribute, unsigned value, const unsigned char *bytes) {
  const unsigned ordinal = bytes && (attribute == PARAMETER || attribute == PARAMETER_V2) ? half_at(bytes + 4) : 0;
  switch (attribute) {
    case PARAMETER:
    case PARAMETER_V2:
      if (ordinal >= MAX_PARAMETERS) abort();
      k->parameters[ordinal].offset = half_at(bytes + 6);
      k->parameters[ordinal].size = attribute == PARAMETER ? word_at(bytes + 8) >> 18 : half_at(bytes + 8);
      if (ordinal >= k->n_parameters) k->n_parameters = ordinal + 1;
      break;
    case PARAMETERS_SIZE: k->parameters_size = value; break;
    case MAX_THREADS: k->max_threads = word_at(bytes) * word_at(bytes + 4) * word_at(bytes + 8); break;
    case REQUIRED_BLOCK: memcpy(k->block, bytes, sizeof k->block); break;
    case BLOCKS_OF_CLUSTER: memcpy(k->cluster, bytes, sizeof k->cluster); break;
  }
}

// Whether `image` is a cubin; what it says of its kernels.
static int read_cubin(const void *image, Cubin *to) {
  const unsigned char *bytes = image;
  const Elf64_Ehdr *head = image;
  if (memcmp(bytes, ELFMAG, SELFMAG) || bytes[EI_CLASS] != ELFCLASS64 || head->e_machine != EM_CUDA) return 0;
  to->arch = bytes[EI_ABIVERSION] < 8 ? head->e_flags & 0xff : (head->e_flags >> 8) & 0xff;
  const Elf64_Shdr *sections = (const Elf64_Shdr *)(bytes + head->e_shoff);
  const char *names = (const char *)bytes + sections[head->e_shstrndx].sh_offset;
  to->count = 0;
  to->kernels = calloc(head->e_shnum + 1, sizeof *to->kernels);
  for (int s = 0; s < head->e_shnum; ++s) {
    const char *name = names + sections[s].sh_name;
    if (strncmp(name, ".text.", 6)) continue;
    Kernel *k = &to->kernels[to->count++];
    snprintf(k->name, sizeof k->name, "%s", name + 6);
    k->symbol = sections[s].sh_info & 0xffffff;
  }
  for (int s = 0; s < head->e_shnum; ++s) {
    const char *name = names + sections[s].sh_name;
    const unsigned char *at = bytes + sections[s].sh_offset, *end = at + sections[s].sh_size;
    const int every = !strcmp(name, ".nv.info");
    for (Kernel *k = to->kernels; k < to->kernels + to->count; ++k) {
      if (!strncmp(name, ".nv.shared.", 11) && !strcmp(name + 11, k->name)) {
        const unsigned size = (unsigned)sections[s].sh_size, reserved = to->arch >= 90 ? RESERVED_SHARED : 0;
        k->shared = size > reserved ? size - reserved : 0;
      }
      if (!every && (strncmp(name, ".nv.info.", 9) || strcmp(name + 9, k->name))) continue;
      for (const unsigned char *p = at; p < end;) {
        const int sized = p[0] == 4;  // else a value of two bytes at most
        const unsigned value = half_at(p + 2);
        if (!every) read_attribute(k, p[1], value, sized ? p + 4 : NULL);
        if (every && p[1] == REGISTERS && word_at(p + 4) == k->symbol) k->registers = word_at(p + 8);
        p += 4 + (sized ? value : 0);
      }
    }
  }
  return 1;
}
