/* The tile path of kernels/tiles.h on tiles made of plain C, beside the portable path: for any number of queries and quads. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int8_t tiles[8][1024];
static int loaded;

static void load(int tile, const void *from) { memcpy(tiles[tile], from, 1024); }
static void store(int tile, void *to) { memcpy(to, tiles[tile], 1024); }
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

#define MIXLINE_TILE_TARGET
#define MIXLINE_TILES(config) (loaded += ((const uint8_t *)(config))[0] == 1)
#define MIXLINE_TILE_ZERO(tile) memset(tiles[tile], 0, 1024)
#define MIXLINE_TILE_LOAD(tile, from) load(tile, from)
#define MIXLINE_TILE_DOT(sums, queries, rows) dot(sums, queries, rows)
#define MIXLINE_TILE_STORE(tile, to) store(tile, to)
#define MIXLINE_TILE_RELEASE() (loaded -= 1)
#include "codes.h"

enum { BLOCKS = 3, MANY = MIXLINE_CODE_QUERIES, QUADS = 70 };

int main(void) {
    static int8_t codes[BLOCKS * QUADS * 64], high[MANY][4 * QUADS], low[MANY][4 * QUADS];
    static int16_t query[MANY][4 * QUADS];
    static int32_t got[MANY][16 * BLOCKS], wanted[MANY][16 * BLOCKS];
    for (int at = 0; at < (int)sizeof codes; at++) codes[at] = (int8_t)(at < 640 ? -127 : at * 73 % 255 - 127);
    struct mixline_code_query asked[MANY], again[MANY];
    for (int one = 0; one < MANY; one++) {
        for (int at = 0; at < 4 * QUADS; at++) {
            high[one][at] = (int8_t)(one ? (at * 31 + one * 7) % 255 - 127 : -127);
            low[one][at] = (int8_t)((at * 13 + one) % 128 - 64);
            query[one][at] = (int16_t)(128 * high[one][at] + low[one][at]);
        }
        asked[one] = (struct mixline_code_query){query[one], high[one], low[one], got[one]};
        again[one] = (struct mixline_code_query){query[one], high[one], low[one], wanted[one]};
    }
    int checked = 0;
    for (int quads = 1; quads <= QUADS; quads++)
        for (int many = 1; many <= MANY; many++, checked++) {
            memset(got, 0, sizeof got);
            memset(wanted, 0, sizeof wanted);
            mixline_dot_codes_portable(codes, quads, BLOCKS, again, many);
            mixline_tile_codes(codes, quads, BLOCKS, asked, many);
            if (memcmp(got, wanted, sizeof got) || loaded) return printf("%d quads, %d queries differ\n", quads, many), 1;
        }
    return printf("%d alike\n", checked), 0;
}
