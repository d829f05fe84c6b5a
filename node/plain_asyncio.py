"""asyncio without TLS, for the supervisor: OpenSSL is 2 MB of a process that speaks to nobody beyond this machine.

asyncio allows for an interpreter that was built without ssl; whoever else needs ssl can import it afterwards.
"""

import sys

if "ssl" in sys.modules:
    import asyncio
else:
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio

    del sys.modules["ssl"]

__all__ = ["asyncio"]
