from typing_extensions import Buffer

DESCRIPTOR_BYTES: int
RING_HEADER_BYTES: int

def ring_bytes(capacity: int) -> int: ...
def live() -> int: ...

class Descriptor:
    slot: int
    generation: int
    life: int
    attempt: int
    status: int
    kind: int
    offset: int
    length: int
    server_us: int
    epoch: int
    live_seq: int
    config_generation: int
    deadline_ns: int

class RingSide:
    def __len__(self) -> int: ...
    @property
    def position(self) -> int: ...
    def reset(self) -> None: ...

class Producer(RingSide):
    def __init__(self, buffer: Buffer, offset: int, capacity: int) -> None: ...
    def push(self, descriptor: Descriptor) -> bool: ...

class Consumer(RingSide):
    def __init__(self, buffer: Buffer, offset: int, capacity: int) -> None: ...
    def peek(self, into: Descriptor) -> bool: ...
    def advance(self) -> int: ...
    def pop(self, into: Descriptor) -> bool: ...
