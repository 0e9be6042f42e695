"""Whether the settings fit the targets of a process; refused before anything is opened."""

from __future__ import annotations

from urllib.parse import urlsplit

from services.model.errors import invalid_field
from services.processes.targets import CALLS, SERVICES, Targets
from services.rpc.addresses import is_local
from services.settings import Settings, is_loopback

__all__ = ["check_listeners", "check_targets"]


def check_targets(settings: Settings) -> None:
    """Raises INVALID_FIELD naming the variable and the remedy. One process with
    everything may have any settings; several need stores that they can share,
    addresses of each other, and certificates that say who calls."""
    targets = Targets.parse(settings.targets)
    if settings.object_proxy:
        _check_object_proxy(settings, targets)
    if targets.everything:
        return
    if targets.publishes and _is_called(targets):
        raise invalid_field(
            "WM_TARGETS",
            "a gateway takes people, who have no certificates, and a service takes services, which "
            "need them: serve the gateway alone or with the relay, or everything in one process",
        )
    if targets.has_stores:
        _check_stores(settings)
    for peer in sorted(targets.peers):
        _check_peer(settings, targets, peer)
    if targets.peers and settings.peer_ca is not None:
        _check_own_certificate(settings)
    if not settings.tls_client_ca and _needs_client_ca(settings, targets):
        raise invalid_field(
            "WM_TLS_CLIENT_CA", "is needed: other services are known by their certificates"
        )


def check_listeners(settings: Settings) -> None:
    """For a process that is about to listen; tools may have any hosts. Raises
    INVALID_FIELD where people's or services' tokens would travel in the clear."""
    targets = Targets.parse(settings.targets)
    hosts = [settings.grpc_host] if targets.served or targets.publishes else []
    hosts += [settings.http_host] if targets.publishes else []
    if settings.tls_certificate is None and not all(map(is_loopback, hosts)):
        raise invalid_field(
            "WM_GRPC_HOST/WM_HTTP_HOST",
            "listening beyond loopback needs TLS: set WM_TLS_CERTIFICATE and WM_TLS_KEY, "
            "or listen on 127.0.0.1",
        )


def _check_stores(settings: Settings) -> None:
    if settings.records == "sqlite":
        raise invalid_field(
            "WM_RECORDS",
            "a SQLite file belongs to one process; take postgresql, dynamodb or cosmos, or serve "
            "all targets in one process (leave --target out)",
        )
    if settings.objects == "filesystem":
        raise invalid_field(
            "WM_OBJECTS",
            "files in a folder are served by the process that has them; take s3 or azure_blob, "
            "or serve all targets in one process (leave --target out)",
        )
    if not settings.public_url:
        raise invalid_field(
            "WM_PUBLIC_URL", "is needed where the gateway is another process: where people come"
        )


def _needs_client_ca(settings: Settings, targets: Targets) -> bool:
    """Where other services call, on this machine too: without a certificate nobody is
    a service. Else where nobody but processes of ours should come."""
    if _is_called(targets):
        return True
    inner = bool(targets.served) and not targets.publishes
    return inner and not is_loopback(settings.grpc_host)


def _is_called(targets: Targets) -> bool:
    """Whether services in other processes call those of this one."""
    return any(CALLS[other] & targets.served for other in SERVICES - targets.inside)


def _check_own_certificate(settings: Settings) -> None:
    if settings.peer_certificate is None and settings.tls_certificate is None:
        raise invalid_field(
            "WM_PEER_CERTIFICATE", "is needed with WM_PEER_CA: what this process shows to peers"
        )


def _check_peer(settings: Settings, targets: Targets, peer: str) -> None:
    address = str(getattr(settings, f"peer_{peer}"))
    if not address:
        raise invalid_field(
            f"WM_PEER_{peer.upper()}", f"is needed: where {peer} answers, as dns:///{peer}:50051"
        )
    as_service = bool(targets.served)  # who cannot prove it is refused there
    if settings.peer_ca is None and (as_service or not is_local(address)):
        raise invalid_field(
            "WM_PEER_CA",
            f"is needed: calls to {address} carry credentials and say who calls; name the "
            "authority of its certificate (`wm certs` makes one)",
        )


def _check_object_proxy(settings: Settings, targets: Targets) -> None:
    url = urlsplit(settings.object_proxy)
    if url.scheme not in {"http", "https"} or not url.hostname or url.path.strip("/"):
        raise invalid_field("WM_OBJECT_PROXY", "must be http(s)://host[:port] without a path")
    if targets.has_stores or not settings.aws_s3_bucket:
        raise invalid_field(
            "WM_OBJECT_PROXY",
            "belongs to a process that is the gateway alone, with WM_AWS_S3_BUCKET for the one "
            "bucket; leave it out elsewhere",
        )
