/* Loads and stores with the orders that the exchange needs, and no others.
 *
 * GCC and Clang builtins instead of <stdatomic.h>: the memory is mapped, plain uint64_t, and shared between processes
 * that were compiled apart. All words are 8 bytes and 8-aligned, so every access is a single lock-free instruction. */
#ifndef MIXLINE_ATOMICS_H
#define MIXLINE_ATOMICS_H

#include <stdint.h>

static inline uint64_t mx_load_relaxed(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
static inline uint64_t mx_load_acquire(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void mx_store_relaxed(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }
static inline void mx_store_release(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

/* The full fence of the sleep protocol: orders a store before a later load, which release and acquire do not. */
static inline void mx_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
