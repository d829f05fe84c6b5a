from mixline.node.broker_surfaces import Surfaces
from mixline.node.broker_writes import Writes

class Desk(Writes):
    surfaces: Surfaces
    question_count: int
    draining: bool
    ever_ready: bool
    hedging: bool
    sharing: bool
    writable: bool
    def answer_questions(self, body: bytes) -> int: ...
