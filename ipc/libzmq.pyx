"""The door to libzmq's own C interface, so that a loop moves messages without the GIL and without a Python object each.

pyzmq's compiled backend is linked against the libzmq that its wheel brings; looking the functions up through that very
file gives the library that owns the sockets. Before the first use the version is checked and a message is sent through
a pair of sockets and back; where anything is not as expected, :func:`available` says why and callers use plain pyzmq.
"""

import os

import zmq
from zmq.backend.cython import _zmq

from libc.stdint cimport uintptr_t
from libc.string cimport memcmp, memset

from mixline.ipc.errors import IpcError


cdef extern from "<dlfcn.h>" nogil:
    void* dlopen(const char* path, int flags) noexcept
    void* dlsym(void* handle, const char* symbol) noexcept
    const int RTLD_NOW
    const int RTLD_NOLOAD

VARIABLE = "MIXLINE_LIBZMQ"  # "off" forces plain pyzmq
OLDEST, NEWEST = (4, 2), (4, 99)  # zmq_msg_t has 64 bytes and these functions mean the same throughout
PROBE = b"mixline asks libzmq whether it is the one" * 8

cdef mx_zmq table
cdef object reason = None  # why the table may not be used; "" when it may; None before the first look


cdef void* find(void* handle, const char* name) except NULL:
    cdef void* address = dlsym(handle, name)
    if address == NULL:
        raise IpcError(f"libzmq has no {name.decode()}")
    return address


cdef int load() except -1:
    """Fill the table from the library behind pyzmq's backend."""
    cdef bytes path = os.fsencode(_zmq.__file__)
    cdef void* handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD)
    if handle == NULL:
        raise IpcError(f"{path!r} is imported but not loaded, so libzmq cannot be found through it")
    table.version = <void (*)(int*, int*, int*) noexcept nogil>find(handle, b"zmq_version")
    table.last_errno = <int (*)() noexcept nogil>find(handle, b"zmq_errno")
    table.msg_init = <int (*)(mx_msg*) noexcept nogil>find(handle, b"zmq_msg_init")
    table.msg_init_size = <int (*)(mx_msg*, size_t) noexcept nogil>find(handle, b"zmq_msg_init_size")
    table.msg_init_data = <int (*)(mx_msg*, void*, size_t, mx_free_fn*, void*) noexcept nogil>find(
        handle, b"zmq_msg_init_data")
    table.msg_recv = <int (*)(mx_msg*, void*, int) noexcept nogil>find(handle, b"zmq_msg_recv")
    table.msg_send = <int (*)(mx_msg*, void*, int) noexcept nogil>find(handle, b"zmq_msg_send")
    table.msg_close = <int (*)(mx_msg*) noexcept nogil>find(handle, b"zmq_msg_close")
    table.msg_data = <void* (*)(mx_msg*) noexcept nogil>find(handle, b"zmq_msg_data")
    table.msg_size = <size_t (*)(const mx_msg*) noexcept nogil>find(handle, b"zmq_msg_size")
    table.msg_more = <int (*)(const mx_msg*) noexcept nogil>find(handle, b"zmq_msg_more")
    table.getsockopt = <int (*)(void*, int, void*, size_t*) noexcept nogil>find(handle, b"zmq_getsockopt")
    table.send = <int (*)(void*, const void*, size_t, int) noexcept nogil>find(handle, b"zmq_send")
    return 0


def check_version() -> None:
    """IpcError when the library is none that the table was written for, or not the one that pyzmq reports."""
    cdef int major = 0, minor = 0, patch = 0
    table.version(&major, &minor, &patch)
    if not OLDEST <= (major, minor) <= NEWEST:
        raise IpcError(f"libzmq {major}.{minor}.{patch}: the C loops are written for {OLDEST} to {NEWEST}")
    if (major, minor, patch) != zmq.zmq_version_info():
        raise IpcError(f"libzmq {major}.{minor}.{patch} was found, but pyzmq runs {zmq.zmq_version()}")


cdef void count_free(void* data, void* hint) noexcept nogil:
    (<int*>hint)[0] += 1


def self_test() -> None:
    """Send two frames, one of them lent, from C to Python and one back; IpcError when a byte or a call is off."""
    cdef mx_msg message
    cdef int freed = 0, events = 0
    cdef const char* probe = PROBE
    cdef size_t size = len(PROBE)
    with zmq.Context() as context, context.socket(zmq.PAIR) as ours, context.socket(zmq.PAIR) as theirs:
        ours.linger = theirs.linger = 0
        ours.bind("inproc://mixline-self-test")
        theirs.connect("inproc://mixline-self-test")
        socket = raw_socket(ours)
        if table.send(socket, probe, 7, MX_ZMQ_SNDMORE) != 7:
            raise IpcError(f"zmq_send: {os.strerror(table.last_errno())}")
        if table.msg_init_data(&message, <void*>probe, size, count_free, &freed):
            raise IpcError("zmq_msg_init_data failed")
        if table.msg_send(&message, socket, 0) != <int>size:
            raise IpcError(f"zmq_msg_send: {os.strerror(table.last_errno())}")
        if theirs.recv_multipart() != [PROBE[:7], PROBE] or freed != 1:
            raise IpcError("what was sent through libzmq's C interface did not arrive as sent")
        theirs.send(PROBE)
        table.msg_init(&message)
        events = poll_events(&table, socket)
        same = table.msg_recv(&message, socket, 0) == <int>size and not table.msg_more(&message)
        same = same and table.msg_size(&message) == size and not memcmp(table.msg_data(&message), probe, size)
        table.msg_close(&message)
        if not same or not events & MX_ZMQ_POLLIN:
            raise IpcError("what was received through libzmq's C interface is not what was sent")


def available() -> str:
    """Why the C interface cannot be used here; "" when it can. Looked at once."""
    global reason
    if reason is None:
        try:
            load()
            check_version()
            self_test()
            reason = ""
        except (IpcError, zmq.ZMQError, AttributeError, OSError) as error:
            reason = str(error)
    return f"{VARIABLE}=off" if os.environ.get(VARIABLE) == "off" else reason


cdef const mx_zmq* zmq_table() except NULL:
    """The functions; IpcError where :func:`available` says no."""
    why = available()
    if why:
        raise IpcError(f"libzmq's C interface: {why}")
    return &table


cdef void* raw_socket(socket) except NULL:
    """The libzmq socket behind a pyzmq socket, which must outlive every use of it."""
    cdef uintptr_t address = socket.underlying
    if not address:
        raise IpcError("the socket is closed")
    return <void*>address


cdef int poll_events(const mx_zmq* api, void* socket) noexcept nogil:
    """The socket's state. Also lets libzmq handle what its descriptor, which tells of changes only, has announced."""
    cdef int events = 0
    cdef size_t length = sizeof(int)
    if api.getsockopt(socket, MX_ZMQ_EVENTS, &events, &length):
        return 0
    return events

memset(&table, 0, sizeof(table))
