from mixline.node.broker_hedges import Hedges

class Desk(Hedges):
    question_count: int
    draining: bool
    ever_ready: bool
    sharing: bool
    writable: bool
    def answer_questions(self, body: bytes) -> int: ...
