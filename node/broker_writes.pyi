from mixline.node.broker_deaths import Deaths

class Writes(Deaths):
    def writes_wait(self) -> bool: ...
