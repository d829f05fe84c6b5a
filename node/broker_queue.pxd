"""The waiting requests: one heap per tenant, and the pace that shares the workers between tenants."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from mixline.node.heaps cimport Heap

cdef enum:
    TENANTS_MAX = 256
    TENANT_BYTES = 16
    BANDS = 8  # of 32 priorities each: what lies ahead of a request is summed by band

cdef struct Tenant:
    uint8_t name[TENANT_BYTES]
    Heap heap
    double weight
    double pace       # virtual time: predicted nanoseconds of work given, divided by the weight
    int64_t cost_ns[BANDS]
    bint configured

cdef struct Waiting:
    int64_t cost_ns
    uint32_t length
    uint8_t tenant
    uint8_t priority


cdef class FairQueue:
    cdef Tenant tenants[TENANTS_MAX]
    cdef int tenant_count
    cdef uint32_t* place
    cdef Waiting* waiting
    cdef uint32_t items_max
    cdef int64_t cost_ns[BANDS]
    cdef double now
    cdef double weight_waiting
    cdef uint64_t sequence
    cdef readonly uint32_t count
    cdef readonly uint64_t total_bytes

    cdef int new_tenant(self, const uint8_t* name) noexcept nogil
    cdef int tenant_of(self, const uint8_t* name) noexcept nogil
    cdef int push(self, uint32_t item, int tenant, uint8_t priority, int64_t deadline_ns, int64_t cost_ns,
                  uint32_t length) noexcept nogil
    cdef int64_t first(self) noexcept nogil
    cdef void take(self, uint32_t item) noexcept nogil
    cdef bint remove(self, uint32_t item) noexcept nogil
    cdef int64_t ahead_ns(self, int tenant, uint8_t priority) noexcept nogil
