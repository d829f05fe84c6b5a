from typing import Any

import zmq

from mixline.node.broker_loop import Loop

class PlainLoop(Loop):
    failure: zmq.ZMQError | None
    def __init__(self, *arguments: Any, router: zmq.Socket[bytes], **named: Any) -> None: ...
