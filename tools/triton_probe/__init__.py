"""What a real Triton answers to calls right and wrong, recorded, and the same calls against any other server.

`python -m tools.triton_probe record --triton VENV` writes recording.json; `compare --grpc HOST:PORT --http HOST:PORT`
makes the same calls elsewhere and prints what differs.
"""
