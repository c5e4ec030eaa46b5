from front_kit import front, fronts, grpc_client, http_client
from serve_kit import engines

__all__ = ["engines", "front", "fronts", "grpc_client", "http_client"]
