from typing import Any

import zmq

from mixline.node.broker_loop import Loop

class NativeLoop(Loop):
    def __init__(self, *arguments: Any, router: zmq.Socket[bytes], **named: Any) -> None: ...
