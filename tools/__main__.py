"""``python -m mixline.tools`` is the ``mixline`` command, for processes that start it without a PATH."""

from mixline.tools.cli import main

main()
