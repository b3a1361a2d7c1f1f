"""Training of stylizers; nothing heavy is imported until it is used."""

__all__: list[str] = []
