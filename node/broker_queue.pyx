"""Which waiting request is next: priority first, then the tenant that has had least, then earliest deadline, arrival.

Tenants are paced by start-time fair queueing (Goyal, Vin, Cheng 1996): each has a virtual time that grows by the
predicted work it was given, over its weight; one that comes back from idling starts at the present, so it can neither
save up nor be punished. With one tenant the order is plainly priority, deadline, arrival.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from mixline.node.heaps cimport NOWHERE, heap_push, heap_remove


cdef class FairQueue:
    """``items_max`` items numbered from 0; ``weights`` by tenant name, 1 for those not named."""

    def __cinit__(self, uint32_t items_max, weights):
        cdef int number
        self.items_max = items_max
        self.place = <uint32_t*>malloc(items_max * sizeof(uint32_t))
        self.waiting = <Waiting*>calloc(items_max, sizeof(Waiting))
        if self.place == NULL or self.waiting == NULL:
            raise MemoryError()
        memset(self.place, 0xFF, items_max * sizeof(uint32_t))
        self.tenant_count = 0
        for name, weight in [("", 1.0), *sorted(weights.items())]:
            raw = name.encode("ascii").ljust(TENANT_BYTES, b"\0")
            number = self.new_tenant(raw)
            self.tenants[number].weight = weight
            self.tenants[number].configured = True

    def __dealloc__(self):
        for number in range(self.tenant_count):
            free(self.tenants[number].heap.entries)
        free(self.place)
        free(self.waiting)

    cdef int new_tenant(self, const uint8_t* name) noexcept nogil:
        """A place for a tenant not seen before: an unused one, else that of a tenant with nothing waiting."""
        cdef int number
        cdef Tenant* tenant
        if self.tenant_count < TENANTS_MAX:
            number = self.tenant_count
            self.tenant_count += 1
            self.tenants[number].heap.place = self.place
        else:
            for number in range(1, TENANTS_MAX):
                if not self.tenants[number].heap.count and not self.tenants[number].configured:
                    break
            else:
                return 0  # the tenant without a name takes in whoever finds the table full
        tenant = &self.tenants[number]
        memcpy(tenant.name, name, TENANT_BYTES)
        tenant.weight = 1.0
        tenant.pace = self.now
        return number

    cdef int tenant_of(self, const uint8_t* name) noexcept nogil:
        cdef int number
        for number in range(self.tenant_count):
            if not memcmp(self.tenants[number].name, name, TENANT_BYTES):
                return number
        return self.new_tenant(name)

    cdef int push(self, uint32_t item, int tenant, uint8_t priority, int64_t deadline_ns, int64_t cost_ns,
                  uint32_t length) noexcept nogil:
        """0, or -1 without memory. The key's deadline is in microseconds, which fits below the priority's byte."""
        cdef Tenant* owner = &self.tenants[tenant]
        cdef Waiting* waiting = &self.waiting[item]
        cdef uint64_t major = <uint64_t>priority << 56 | <uint64_t>(deadline_ns // 1000)
        self.sequence += 1
        if heap_push(&owner.heap, item, major, self.sequence):
            return -1
        if owner.heap.count == 1:
            self.weight_waiting += owner.weight
            if owner.pace < self.now:
                owner.pace = self.now
        waiting.cost_ns, waiting.length = cost_ns, length
        waiting.tenant, waiting.priority = <uint8_t>tenant, priority
        owner.cost_ns[priority >> 5] += cost_ns
        self.cost_ns[priority >> 5] += cost_ns
        self.count += 1
        self.total_bytes += length
        return 0

    cdef int64_t first(self) noexcept nogil:
        """The next item, left in the queue; -1 when nothing waits."""
        cdef int number, best = -1
        cdef uint64_t priority, best_priority = 0
        cdef Tenant* tenant
        if not self.count:
            return -1
        for number in range(self.tenant_count):
            tenant = &self.tenants[number]
            if not tenant.heap.count:
                continue
            priority = tenant.heap.entries[0].major >> 56
            if best < 0 or priority < best_priority or (
                priority == best_priority and tenant.pace < self.tenants[best].pace
            ):
                best, best_priority = number, priority
        return self.tenants[best].heap.entries[0].item

    cdef void take(self, uint32_t item) noexcept nogil:
        """The item goes to a worker: its tenant is charged."""
        cdef Tenant* tenant = &self.tenants[self.waiting[item].tenant]
        if self.remove(item):
            self.now = tenant.pace
            tenant.pace += self.waiting[item].cost_ns / tenant.weight

    cdef bint remove(self, uint32_t item) noexcept nogil:
        """The item leaves without being served; False when it does not wait."""
        cdef Waiting* waiting = &self.waiting[item]
        cdef Tenant* tenant = &self.tenants[waiting.tenant]
        if self.place[item] == NOWHERE or not heap_remove(&tenant.heap, item):
            return False
        tenant.cost_ns[waiting.priority >> 5] -= waiting.cost_ns
        self.cost_ns[waiting.priority >> 5] -= waiting.cost_ns
        self.count -= 1
        self.total_bytes -= waiting.length
        if not tenant.heap.count:
            self.weight_waiting = self.weight_waiting - tenant.weight if self.count else 0.0
        return True

    cdef int64_t ahead_ns(self, int tenant, uint8_t priority) noexcept nogil:
        """Predicted work that will be done before a new request of this tenant and priority begins.

        Not more than all that waits at its priority or above; and not more than its tenant's own share of that, times
        what the others with something waiting may take meanwhile.
        """
        cdef Tenant* owner = &self.tenants[tenant]
        cdef int64_t every = 0, own = 0
        cdef int band
        cdef double weights = self.weight_waiting + (0.0 if owner.heap.count else owner.weight)
        for band in range((priority >> 5) + 1):
            every += self.cost_ns[band]
            own += owner.cost_ns[band]
        return min(every, <int64_t>(own * weights / owner.weight))

    def add(self, uint32_t item, tenant: str, uint8_t priority, int64_t deadline_ns, int64_t cost_ns,
            uint32_t length) -> None:
        """For tests: :meth:`push` by name."""
        raw = tenant.encode("ascii").ljust(TENANT_BYTES, b"\0")
        if item >= self.items_max or self.place[item] != NOWHERE:
            raise ValueError(f"item {item}: out of range, or waiting")
        if self.push(item, self.tenant_of(raw), priority, deadline_ns, cost_ns, length):
            raise MemoryError()

    def next(self) -> int:
        """For tests: take the first item, or -1."""
        cdef int64_t item = self.first()
        if item >= 0:
            self.take(<uint32_t>item)
        return item

    def drop(self, uint32_t item) -> bool:
        """For tests: :meth:`remove`."""
        return item < self.items_max and self.remove(item)

    def ahead(self, tenant: str, uint8_t priority) -> int:
        """For tests: :meth:`ahead_ns` by name."""
        raw = tenant.encode("ascii").ljust(TENANT_BYTES, b"\0")
        return self.ahead_ns(self.tenant_of(raw), priority)
