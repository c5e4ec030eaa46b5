from serve_kit import engines

__all__ = ["engines"]
