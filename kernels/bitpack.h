/* Whole numbers in as few bits as the largest of them needs: 128 at a time in four lanes (Lemire and Boytsov, 2015,
 * "Decoding billions of integers per second through vectorization"), and up to 127 one after the other.
 *
 * The vectors are GCC's own of 16 bytes, so every machine decodes four numbers at once, and all the same bytes. Words
 * are little-endian.
 */
#ifndef MIXLINE_BITPACK_H
#define MIXLINE_BITPACK_H

#include <stdint.h>
#include <string.h>

enum { MIXLINE_PACK = 128, MIXLINE_LANES = 4 };

typedef uint32_t mixline_lanes __attribute__((vector_size(16)));
typedef uint32_t mixline_loose_lanes __attribute__((vector_size(16), aligned(1), may_alias));

/* The bits that the largest of `count` numbers needs. */
static inline int mixline_bits(const uint32_t *values, int count) {
    uint32_t all = 0;
    for (int i = 0; i < count; i++) all |= values[i];
    return all ? 32 - __builtin_clz(all) : 0;
}

/* 128 numbers as 16 * bits bytes. */
static inline void mixline_pack(const uint32_t *values, int bits, uint8_t *out) {
    mixline_lanes word = {0};
    int filled = 0;
    if (!bits) return;
    for (int i = 0; i < MIXLINE_PACK; i += MIXLINE_LANES) {
        mixline_lanes value = *(const mixline_loose_lanes *)(values + i);
        word |= value << (uint32_t)filled;
        filled += bits;
        if (filled >= 32) {
            *(mixline_loose_lanes *)out = word;
            out += sizeof word;
            filled -= 32;
            word = filled ? value >> (uint32_t)(bits - filled) : (mixline_lanes){0};
        }
    }
}

__attribute__((always_inline)) static inline void mixline_unpack_as(const uint8_t *in, const int bits, uint32_t *out) {
    const mixline_loose_lanes *words = (const mixline_loose_lanes *)in;
    const mixline_lanes mask = (mixline_lanes){0} + (bits == 32 ? 0xFFFFFFFFu : (1u << bits) - 1);
    _Pragma("GCC unroll 32") for (int i = 0; i < 32; i++) {
        const int at = i * bits, word = at >> 5, shift = at & 31;
        mixline_lanes value = words[word] >> (uint32_t)shift;
        if (shift + bits > 32) value |= words[word + 1] << (uint32_t)(32 - shift);
        *(mixline_loose_lanes *)(out + 4 * i) = value & mask;
    }
}

/* The inverse of mixline_pack. */
static inline void mixline_unpack(const uint8_t *in, int bits, uint32_t *out) {
    switch (bits) {
#define MIXLINE_UNPACK(BITS) case BITS: mixline_unpack_as(in, BITS, out); break;
        MIXLINE_UNPACK(1) MIXLINE_UNPACK(2) MIXLINE_UNPACK(3) MIXLINE_UNPACK(4) MIXLINE_UNPACK(5) MIXLINE_UNPACK(6)
        MIXLINE_UNPACK(7) MIXLINE_UNPACK(8) MIXLINE_UNPACK(9) MIXLINE_UNPACK(10) MIXLINE_UNPACK(11) MIXLINE_UNPACK(12)
        MIXLINE_UNPACK(13) MIXLINE_UNPACK(14) MIXLINE_UNPACK(15) MIXLINE_UNPACK(16) MIXLINE_UNPACK(17)
        MIXLINE_UNPACK(18) MIXLINE_UNPACK(19) MIXLINE_UNPACK(20) MIXLINE_UNPACK(21) MIXLINE_UNPACK(22)
        MIXLINE_UNPACK(23) MIXLINE_UNPACK(24) MIXLINE_UNPACK(25) MIXLINE_UNPACK(26) MIXLINE_UNPACK(27)
        MIXLINE_UNPACK(28) MIXLINE_UNPACK(29) MIXLINE_UNPACK(30) MIXLINE_UNPACK(31) MIXLINE_UNPACK(32)
#undef MIXLINE_UNPACK
        default: memset(out, 0, MIXLINE_PACK * sizeof *out);
    }
}

/* Gaps less one become rows: each is one more than the one before plus its gap; `before` precedes the first. */
static inline void mixline_add_gaps(uint32_t *rows, uint32_t before) {
    mixline_lanes last = (mixline_lanes){0} + before;
    const mixline_lanes steps = {1, 2, 3, 4}, none = {0};
    for (int i = 0; i < MIXLINE_PACK; i += MIXLINE_LANES) {
        mixline_lanes gaps = *(const mixline_loose_lanes *)(rows + i);
        gaps += __builtin_shuffle(none, gaps, (mixline_lanes){0, 4, 5, 6});
        gaps += __builtin_shuffle(none, gaps, (mixline_lanes){0, 1, 4, 5});
        last += gaps + steps;
        *(mixline_loose_lanes *)(rows + i) = last;
        last = __builtin_shuffle(last, (mixline_lanes){3, 3, 3, 3});
    }
}

/* Fewer than 128 numbers as ceil(count * bits / 8) bytes. */
static inline int64_t mixline_pack_few(const uint32_t *values, int count, int bits, uint8_t *out) {
    uint64_t word = 0;
    int filled = 0;
    int64_t written = 0;
    for (int i = 0; i < count; i++) {
        word |= (uint64_t)values[i] << filled;
        for (filled += bits; filled >= 8; filled -= 8, word >>= 8) out[written++] = (uint8_t)word;
    }
    if (filled) out[written++] = (uint8_t)word;
    return written;
}

static inline int64_t mixline_few_bytes(int count, int bits) { return ((int64_t)count * bits + 7) / 8; }

/* The inverse; reads no byte beyond those. */
static inline void mixline_unpack_few(const uint8_t *in, int count, int bits, uint32_t *out) {
    const uint64_t mask = bits == 32 ? 0xFFFFFFFFu : (1u << bits) - 1;
    uint64_t word = 0;
    int filled = 0;
    for (int i = 0; i < count; i++) {
        for (; filled < bits; filled += 8) word |= (uint64_t)*in++ << filled;
        out[i] = (uint32_t)(word & mask);
        word >>= bits;
        filled -= bits;
    }
}

/* Seven bits a byte, the lowest first; the highest bit says that more follow. */
static inline uint8_t *mixline_put_varint(uint8_t *out, uint32_t value) {
    for (; value >= 0x80; value >>= 7) *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static inline const uint8_t *mixline_take_varint(const uint8_t *in, uint32_t *value) {
    uint32_t found = 0;
    int shift = 0;
    for (; *in & 0x80 && shift < 28; shift += 7) found |= (uint32_t)(*in++ & 0x7F) << shift;
    *value = found | (uint32_t)*in++ << shift;
    return in;
}

#endif
