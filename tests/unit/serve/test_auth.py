"""Tokens and TLS, for gRPC and HTTP."""

from __future__ import annotations

import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import tritonclient.grpc
from front_kit import Front
from tritonclient.utils import InferenceServerException

from safhost.errors import ConfigError
from safhost.serve.auth import Security, read_token


def openssl(*args: str | Path) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem; server.pem, client.pem with keys, signed by it; stranger.pem, which nobody signed."""
    folder = tmp_path_factory.mktemp("pki")
    extension = folder / "san"
    extension.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "stranger"):
        openssl(*new, "-x509", "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key",
                "-out", folder / f"{name}.pem")
    for name in ("server", "client"):
        openssl(*new[:6], "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
        openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
                "-CAcreateserial", "-days", "2", "-extfile", extension, "-out", folder / f"{name}.pem")
    return folder


def status(url: str, token: str = "", context: ssl.SSLContext | None = None) -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_token_is_wanted_of_everything_but_probes(fronts: Callable[..., Front]) -> None:
    front = fronts(Security(token=b"secret"))
    url = f"http://{front.http_place}"
    assert status(f"{url}/v2/health/ready") == 200
    assert status(f"{url}/v2") == 401
    assert status(f"{url}/v2", "wrong") == 401
    assert status(f"{url}/v2", "secret") == 200
    with tritonclient.grpc.InferenceServerClient(front.grpc_place) as client:
        assert client.is_server_ready()
        for headers in (None, {"authorization": "Bearer wrong"}):
            with pytest.raises(InferenceServerException) as error:
                client.get_server_metadata(headers)
            assert error.value.status() == "StatusCode.UNAUTHENTICATED"
        assert client.get_server_metadata({"authorization": "Bearer secret"}).name == "safhost"


def test_stream_without_the_token_is_refused_before_a_message(fronts: Callable[..., Front]) -> None:
    front = fronts(Security(token=b"secret"))
    with grpc.insecure_channel(front.grpc_place) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        with pytest.raises(grpc.RpcError) as error:
            next(call(iter(()), timeout=20))
    assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_mutual_tls_lets_in_whom_the_authority_signed(fronts: Callable[..., Front], pki: Path) -> None:
    front = fronts(Security(str(pki / "server.pem"), str(pki / "server.key"), str(pki / "ca.pem")))
    url = f"https://{front.http_place}/v2"
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    with pytest.raises(OSError):  # noqa: PT011 the alert comes as a URLError or as a connection that is reset
        status(url, context=context)
    context.load_cert_chain(pki / "client.pem", pki / "client.key")
    assert status(url, context=context) == 200

    def live(name: str) -> bool:
        with tritonclient.grpc.InferenceServerClient(
                front.grpc_place, ssl=True, root_certificates=str(pki / "ca.pem"),
                private_key=str(pki / f"{name}.key"), certificate_chain=str(pki / f"{name}.pem")) as client:
            return bool(client.is_server_live(client_timeout=20))
    assert live("client")
    with pytest.raises(InferenceServerException):
        live("stranger")


def test_security_that_cannot_work_is_refused(pki: Path, tmp_path: Path) -> None:
    cert, key = str(pki / "server.pem"), str(pki / "server.key")
    for wrong in (Security(cert), Security(key=key), Security(authority=cert), Security(cert, str(pki / "client.key")),
                  Security(str(tmp_path / "none"), key)):
        with pytest.raises(ConfigError):
            wrong.check()
    Security(cert, key, str(pki / "ca.pem")).check()


def test_token_file_must_be_private_and_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(" word\n")
    path.chmod(0o640)
    assert read_token(path) == b"word"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod"):
        read_token(path)
    path.write_text("\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="empty"):
        read_token(path)
