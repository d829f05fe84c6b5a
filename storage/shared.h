/* Words that the writer of a store changes while readers look: one writer, any number of readers, no lock.
 *
 * GCC and Clang builtins, since the memory is mapped and shared between processes. */
#ifndef MIXLINE_SHARED_H
#define MIXLINE_SHARED_H

#include <stdint.h>

static inline uint64_t st_load64(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void st_store64(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
static inline uint32_t st_load32(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void st_store32(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
static inline void st_ahead(const void *memory) { __builtin_prefetch(memory, 0, 3); }
static inline void st_fence(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }

#endif
