from mixline.node.broker_deaths import Deaths
from mixline.node.broker_surfaces import Surfaces

class Desk(Deaths):
    surfaces: Surfaces
    question_count: int
    draining: bool
    ever_ready: bool
    hedging: bool
    sharing: bool
    def answer_questions(self, body: bytes) -> int: ...
