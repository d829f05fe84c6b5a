"""The wire's headers for loops in C; ``wire.py`` says what the fields mean, and a test holds the two together."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "frames.h" nogil:
    const int MX_HEADER_BYTES

    ctypedef struct mx_request_frame:
        uint8_t magic[4]
        uint8_t version
        uint8_t kind
        uint8_t flags
        uint8_t priority
        uint8_t request_id[16]
        uint64_t budget_us
        uint8_t tenant[16]
        uint8_t surface[32]

    ctypedef struct mx_reply_frame:
        uint8_t magic[4]
        uint8_t version
        uint8_t kind
        uint8_t flags
        uint8_t status
        uint8_t request_id[16]
        uint64_t epoch
        uint64_t live_seq
        uint64_t config_generation
        uint64_t server_us
        uint32_t retry_after_us
        uint16_t seat
        uint16_t attempt

    bint mx_is_name(const uint8_t* text, int size) noexcept
    int mx_error_body(uint8_t* into, const char* text) noexcept


cdef enum Kinds:
    KIND_ASK = 1
    KIND_ECHO = 2
    KIND_INFO = 3
    KIND_APPLY = 4

# In the order of wire.Status.
cdef enum Statuses:
    OK
    DEGRADED
    BAD_REQUEST
    NOT_FOUND
    TOO_LARGE
    OVERLOADED
    TIMEOUT
    WORKER_LOST
    POISON
    NOT_READY
    SHUTTING_DOWN
    UNAUTHORIZED
    INTERNAL
    STATUS_COUNT
