"""The serving node: supervisor, broker, workers, the pipeline engine and its clients."""
