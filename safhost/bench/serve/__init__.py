"""`safhost bench serve`: cards as an inference server, beside Triton, MLServer and KServe."""
