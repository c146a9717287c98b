"""Which tests there are, what each suite needs, and how they run side by side.

``python -m tests.suites --help`` is the command behind ``make test`` and ``.ci/run``.
"""
