/* The instruction sets that kernels have paths for, from the plainest to the widest, and whether this machine has them.
 *
 * A kernel without a path of its own for one takes that of the next plainer one on the same kind of machine.
 */
#ifndef MIXLINE_ISA_H
#define MIXLINE_ISA_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

enum mixline_isa { MIXLINE_PORTABLE, MIXLINE_NEON, MIXLINE_AVX2, MIXLINE_AVX512, MIXLINE_VNNI, MIXLINE_AMX, MIXLINE_ISAS };

static const char *const mixline_isa_names[MIXLINE_ISAS] = {"portable", "neon", "avx2", "avx512", "vnni", "amx"};

/* Which one is called so; -1 for none. */
static inline int mixline_isa_named(const char *name) {
    for (int isa = 0; isa < MIXLINE_ISAS; isa++)
        if (!strcmp(name, mixline_isa_names[isa])) return isa;
    return -1;
}

#if defined(__x86_64__)
#define MIXLINE_CPUID_AMX (1u << 24 | 1u << 25) /* of leaf 7, EDX: tiles, and their int8 products */
#define MIXLINE_REQUEST_PERMISSION 0x1023       /* arch_prctl's ARCH_REQ_XCOMP_PERM */
#define MIXLINE_TILE_DATA 18

/* Tiles need the kernel's permission, which a process has until exec and its children inherit (Linux 5.16). */
static inline int mixline_amx_permitted(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & MIXLINE_CPUID_AMX) != MIXLINE_CPUID_AMX) return 0;
    return syscall(SYS_arch_prctl, MIXLINE_REQUEST_PERMISSION, MIXLINE_TILE_DATA) == 0;
}
#endif

/* Whether this process may use it, asking for what must be asked for. */
static inline int mixline_isa_present(int isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    int vnni = avx512 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
    if (isa == MIXLINE_AVX2) return __builtin_cpu_supports("avx2") != 0;
    if (isa == MIXLINE_AVX512) return avx512;
    if (isa == MIXLINE_VNNI) return vnni;
    if (isa == MIXLINE_AMX) return vnni && mixline_amx_permitted();
#elif defined(__aarch64__)
    if (isa == MIXLINE_NEON) return (getauxval(AT_HWCAP) & (1UL << 20)) != 0; /* ASIMDDP: dot products of bytes */
#endif
    return isa == MIXLINE_PORTABLE;
}

#endif
