"""Training of stylizers: what a painting is judged by.

Nothing heavy is imported until it is used.
"""

__all__: list[str] = []
