/* The part of libzmq's C interface that the message loops call, declared here: the library is the one inside the pyzmq
 * wheel, so no header of it is installed, and nothing is linked. ZeroMQ keeps this ABI stable within version 4. */
#ifndef MIXLINE_LIBZMQ_H
#define MIXLINE_LIBZMQ_H

#include <stddef.h>

typedef union mx_msg {
    unsigned char opaque[64];
    void *aligned;
} mx_msg;

typedef void mx_free_fn(void *data, void *hint);

typedef struct mx_zmq {
    void (*version)(int *major, int *minor, int *patch);
    int (*last_errno)(void);
    int (*msg_init)(mx_msg *msg);
    int (*msg_init_size)(mx_msg *msg, size_t size);
    int (*msg_init_data)(mx_msg *msg, void *data, size_t size, mx_free_fn *free_fn, void *hint);
    int (*msg_recv)(mx_msg *msg, void *socket, int flags);
    int (*msg_send)(mx_msg *msg, void *socket, int flags);
    int (*msg_close)(mx_msg *msg);
    void *(*msg_data)(mx_msg *msg);
    size_t (*msg_size)(const mx_msg *msg);
    int (*msg_more)(const mx_msg *msg);
    int (*getsockopt)(void *socket, int option, void *value, size_t *length);
    int (*send)(void *socket, const void *data, size_t size, int flags);
} mx_zmq;

#define MX_ZMQ_DONTWAIT 1
#define MX_ZMQ_SNDMORE 2
#define MX_ZMQ_FD 14
#define MX_ZMQ_EVENTS 15
#define MX_ZMQ_POLLIN 1

#endif
