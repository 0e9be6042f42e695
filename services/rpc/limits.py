"""gRPC limits, each with its reason (reliability.md 3.1, style.md 4.2 and 4.8)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits", "Options"]

Options = list[tuple[str, int | str]]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of servers and channels. Sizes in bytes, times in seconds."""

    max_receive_bytes: int = 4 * _MIB
    """Our largest request is a 1 MiB document body; file bytes never travel by gRPC."""
    max_send_bytes: int = 4 * _MIB
    """Same as the receive limit: no answer that our own clients would refuse."""
    max_metadata_bytes: int = 32 * 1024
    """Soft and hard limit alike. Between two limits gRPC drops calls at random,
    and a 200-group Entra token (11.3 KB) has to pass always."""
    max_concurrent_streams: int = 100
    """Per connection; gRPC announces no limit by itself (rapid reset)."""
    max_concurrent_rpcs: int = 1000
    """Per server; above it RESOURCE_EXHAUSTED at once instead of a queue."""
    handshake_timeout: float = 10.0
    """A silent connection would stay for 120 s (slowloris)."""
    receive_timeout: float = 30.0
    """From the begin of a call to its request message, and between two of a stream: a call
    without one would keep its place of `max_concurrent_rpcs` (arrival.py)."""
    max_connection_idle: float = 300.0
    """Frees connections that nobody uses."""
    max_connection_age: float = 1800.0
    """Clients resolve again only on reconnect: this makes scaling out take effect."""
    max_connection_age_grace: float = 60.0
    """For calls in flight when a connection gets too old."""
    keepalive_time: float = 20.0
    """How often a client pings while calls are open: finds dead peers behind NAT, and
    processes that hang, whose connections stay (calls to them end at their deadline)."""
    keepalive_timeout: float = 10.0
    """How long a client waits for that pong."""
    min_ping_interval: float = 10.0
    """What the server tolerates: half of keepalive_time, change both together."""
    connect_timeout: float = 10.0
    """How long one attempt to connect may take; the next address waits for it."""
    first_backoff: float = 0.2
    """Pause after an attempt that failed, growing from one to the next."""
    max_backoff: float = 5.0
    """gRPC would pause two minutes: a peer that comes back would stay unknown so long."""
    resolution_interval: float = 5.0
    """How often a name may be asked for again (gRPC: 30 s). A rolling restart replaces all
    addresses of a name faster than that."""

    def server_options(self, *, so_reuseport: bool = False) -> Options:
        """Options of `grpc.aio.server`.

        `so_reuseport` only for several workers on purpose: with it a second
        server binds the same port silently and swallows calls.
        """
        return [
            ("grpc.so_reuseport", int(so_reuseport)),
            *self._sizes(),
            ("grpc.max_concurrent_streams", self.max_concurrent_streams),
            ("grpc.server_handshake_timeout_ms", _ms(self.handshake_timeout)),
            ("grpc.max_connection_idle_ms", _ms(self.max_connection_idle)),
            ("grpc.max_connection_age_ms", _ms(self.max_connection_age)),
            ("grpc.max_connection_age_grace_ms", _ms(self.max_connection_age_grace)),
            ("grpc.http2.min_ping_interval_without_data_ms", _ms(self.min_ping_interval)),
            ("grpc.http2.max_ping_strikes", 2),
        ]

    def channel_options(self) -> Options:
        """Options of `grpc.aio.insecure_channel` / `secure_channel`."""
        return [
            *self._sizes(),
            ("grpc.keepalive_time_ms", _ms(self.keepalive_time)),
            ("grpc.keepalive_timeout_ms", _ms(self.keepalive_timeout)),
            ("grpc.min_reconnect_backoff_ms", _ms(self.connect_timeout)),
            ("grpc.initial_reconnect_backoff_ms", _ms(self.first_backoff)),
            ("grpc.max_reconnect_backoff_ms", _ms(self.max_backoff)),
            ("grpc.dns_min_time_between_resolutions_ms", _ms(self.resolution_interval)),
            # Idle channels do not ping: an idle connection may close.
            ("grpc.keepalive_permit_without_calls", 0),
            # A proxy of the environment must never see calls between our services.
            ("grpc.enable_http_proxy", 0),
            # No shared subchannels: each channel has its own limits and identity.
            ("grpc.use_local_subchannel_pool", 1),
        ]

    def _sizes(self) -> Options:
        return [
            ("grpc.max_receive_message_length", self.max_receive_bytes),
            ("grpc.max_send_message_length", self.max_send_bytes),
            ("grpc.max_metadata_size", self.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_bytes),
        ]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
