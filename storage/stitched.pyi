PAGE: int

class Stitched:
    tail_at: int
    tail_bytes: int

    def __init__(self, fd: int, head_bytes: int, tail_at: int, tail_bytes: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def attach(self, fd: int) -> None:
        """Put the tail's file, which must have ``tail_bytes``, in its place."""
    @property
    def address(self) -> int:
        """Where it lies, for tests."""
