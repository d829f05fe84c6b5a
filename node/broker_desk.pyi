from mixline.node.broker_patience import Patience

class Desk(Patience):
    question_count: int
    draining: bool
    ever_ready: bool
    sharing: bool
    writable: bool
    def answer_questions(self, body: bytes) -> int: ...
