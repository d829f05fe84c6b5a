from collections.abc import Iterable
from typing import final

from mixline.tools.volley import Transport

@final
class ZmqTransport(Transport):
    def __init__(self, endpoint: str, requests: Iterable[tuple[bytes, bytes]], connections: int = 1) -> None: ...
    def close(self) -> None: ...
