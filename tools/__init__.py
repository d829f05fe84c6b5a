"""The ``mixline`` command: build, serve, ask, epoch, demo, bench."""
