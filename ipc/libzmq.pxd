"""libzmq's C functions, found in the library that pyzmq brought; a loop keeps the table and calls through it."""


cdef extern from "libzmq.h" nogil:
    ctypedef union mx_msg:
        unsigned char opaque[64]

    ctypedef void mx_free_fn(void* data, void* hint) noexcept nogil

    ctypedef struct mx_zmq:
        void (*version)(int*, int*, int*) noexcept nogil
        int (*last_errno)() noexcept nogil
        int (*msg_init)(mx_msg*) noexcept nogil
        int (*msg_init_size)(mx_msg*, size_t) noexcept nogil
        int (*msg_init_data)(mx_msg*, void*, size_t, mx_free_fn*, void*) noexcept nogil
        int (*msg_recv)(mx_msg*, void*, int) noexcept nogil
        int (*msg_send)(mx_msg*, void*, int) noexcept nogil
        int (*msg_close)(mx_msg*) noexcept nogil
        void* (*msg_data)(mx_msg*) noexcept nogil
        size_t (*msg_size)(const mx_msg*) noexcept nogil
        int (*msg_more)(const mx_msg*) noexcept nogil
        int (*getsockopt)(void*, int, void*, size_t*) noexcept nogil
        int (*send)(void*, const void*, size_t, int) noexcept nogil

    const int MX_ZMQ_DONTWAIT
    const int MX_ZMQ_SNDMORE
    const int MX_ZMQ_FD
    const int MX_ZMQ_EVENTS
    const int MX_ZMQ_POLLIN


cdef const mx_zmq* zmq_table() except NULL
cdef void* raw_socket(socket) except NULL
cdef int poll_events(const mx_zmq* api, void* socket) noexcept nogil
