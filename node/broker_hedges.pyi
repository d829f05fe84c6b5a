from mixline.node.broker_surfaces import Surfaces
from mixline.node.broker_writes import Writes

class Hedges(Writes):
    surfaces: Surfaces
    hedging: bool
