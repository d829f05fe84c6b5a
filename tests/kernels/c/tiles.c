/* The tile path of kernels/tiles.h on tiles made of plain C, beside the portable path: for any number of queries and quads. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int8_t tiles[8][1024];
static int loaded, rows_of[8];

static void load(int tile, const void *from, int64_t stride) {
    memset(tiles[tile], 0, 1024);
    for (int row = 0; row < rows_of[tile]; row++) memcpy(tiles[tile] + 64 * row, (const char *)from + row * stride, 64);
}
static void store(int tile, void *to, int64_t stride) {
    for (int row = 0; row < rows_of[tile]; row++) memcpy((char *)to + row * stride, tiles[tile] + 64 * row, 64);
}
static void configure(const void *config) {
    for (int tile = 0; tile < 8; tile++) rows_of[tile] = ((const uint8_t *)config)[48 + tile];
    loaded += ((const uint8_t *)config)[0] == 1;
}
/* TDPBSSD of Intel's manual: sums[m][n] += queries[m][4 k + i] * rows[k][4 n + i]. */
static void dot(int sums, int queries, int rows) {
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 16; n++) {
                int32_t sum;
                memcpy(&sum, tiles[sums] + 64 * m + 4 * n, 4);
                for (int i = 0; i < 4; i++) sum += tiles[queries][64 * m + 4 * k + i] * tiles[rows][64 * k + 4 * n + i];
                memcpy(tiles[sums] + 64 * m + 4 * n, &sum, 4);
            }
}

#define MIXLINE_TILE_TARGET unused
#define MIXLINE_TILES(config) configure(config)
#define MIXLINE_TILE_ZERO(tile) memset(tiles[tile], 0, 1024)
#define MIXLINE_TILE_LOAD(tile, from, stride) load(tile, from, stride)
#define MIXLINE_TILE_DOT(sums, queries, rows) dot(sums, queries, rows)
#define MIXLINE_TILE_STORE(tile, to, stride) store(tile, to, stride)
#define MIXLINE_TILE_RELEASE() (loaded -= 1)
#include "halves.h"

enum { BLOCKS = 7, MANY = MIXLINE_CODE_QUERIES, QUADS = 70, STRIDE = 320 };

int main(void) {
    static uint8_t codes[BLOCKS * QUADS * 64];
    static int8_t every[MANY][STRIDE], highs[MANY][STRIDE];
    static int32_t got[MANY][MIXLINE_RUN_SUMS] __attribute__((aligned(64))), wanted[MANY][MIXLINE_RUN_SUMS];
    for (int at = 0; at < (int)sizeof codes; at++) codes[at] = (uint8_t)(at < 640 ? -127 : at * 73 % 255 - 127);
    for (int one = 0; one < MANY; one++)
        for (int at = 0; at < STRIDE; at++) every[one][at] = (int8_t)(one ? (at * 31 + one * 7) % 255 - 127 : -127);
    int checked = 0;
    for (int quads = 1; quads <= QUADS; quads++)
        for (int many = 1; many <= MANY; many++, checked++) {
            for (int one = 0; one < MANY; one++)
                for (int at = 0; at < STRIDE; at++) highs[one][at] = at < 4 * quads ? every[one][at] : 0;
            struct mixline_halves asked = {highs[0], STRIDE, many, got[0]}, again = {highs[0], STRIDE, many, wanted[0]};
            memset(got, 0, sizeof got);
            memset(wanted, 0, sizeof wanted);
            mixline_dot_halves_portable(codes, quads, BLOCKS, &again);
            mixline_begin_tiles();
            mixline_tile_halves(codes, quads, BLOCKS, &asked);
            mixline_end_tiles();
            if (memcmp(got, wanted, (size_t)many * sizeof *got) || loaded) return printf("%d quads, %d queries differ\n", quads, many), 1;
        }
    return printf("%d alike\n", checked), 0;
}
