from collections.abc import Iterable, Sequence
from typing import final

from mixline.tools.volley import Transport

@final
class HttpTransport(Transport):
    def __init__(self, addresses: str | Sequence[str], requests: Iterable[bytes], connections: int = 16) -> None: ...
    def close(self) -> None: ...
