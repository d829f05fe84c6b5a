from mixline.node.broker_ledger import Ledger
from mixline.node.broker_quarantine import Quarantine
from mixline.node.broker_surfaces import Surfaces

class Desk(Ledger):
    surfaces: Surfaces
    quarantine: Quarantine
    question_count: int
    draining: bool
    ever_ready: bool
    hedging: bool
    def overdue(self, number: int) -> bool: ...
    def bury(self, number: int, crash: bool) -> None: ...
    def answer_questions(self, body: bytes) -> int: ...
