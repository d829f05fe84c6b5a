/* The two headers of wire.py as C sees them; the sizes are asserted where they are used. */
#ifndef MIXLINE_FRAMES_H
#define MIXLINE_FRAMES_H

#include <stdint.h>
#include <string.h>

#define MX_HEADER_BYTES 128

typedef struct __attribute__((packed)) mx_request_frame {
    uint8_t magic[4];
    uint8_t version, kind, flags, priority;
    uint8_t request_id[16];
    uint64_t budget_us;
    uint8_t tenant[16];
    uint8_t surface[32];
    uint8_t reserved[48];
} mx_request_frame;

typedef struct __attribute__((packed)) mx_reply_frame {
    uint8_t magic[4];
    uint8_t version, kind, flags, status;
    uint8_t request_id[16];
    uint64_t epoch, live_seq, config_generation, server_us;
    uint32_t retry_after_us;
    uint16_t seat, attempt;
    uint8_t reserved[64];
} mx_reply_frame;

/* ASCII padded with NUL and nothing after the first of them. */
static inline int mx_is_name(const uint8_t *text, int size) {
    int i = 0;
    while (i < size && text[i] && text[i] < 128) i++;
    for (; i < size; i++)
        if (text[i]) return 0;
    return 1;
}

/* The MessagePack map {"error": text}; text beyond 200 bytes is cut. Returns the length, at most 210. */
static inline int mx_error_body(uint8_t *into, const char *text) {
    size_t length = strlen(text);
    if (length > 200) length = 200;
    memcpy(into, "\x81\xa5" "error\xd9", 8);
    into[8] = (uint8_t)length;
    memcpy(into + 9, text, length);
    return 9 + (int)length;
}

#endif
