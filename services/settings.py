"""What a process runs with: one frozen object. `config.py` loads and checks it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.tokens.issuers import RemoteIssuer

__all__ = ["Settings", "is_loopback"]


class Settings(BaseSettings):
    """Everything a process needs to know before it opens anything.

    Times are seconds, sizes bytes. Every field is the environment variable
    `WM_<FIELD>`.
    """

    model_config = SettingsConfigDict(env_prefix="WM_", frozen=True, extra="ignore")

    data_dir: Path = Field(Path(".wm-data"), description="folder of the local workspace")
    backend_file: Path = Field(Path("backend.toml"), description="non-secret backend selection")
    environment: str = Field("local", description="name of the deployment, for labels")
    records: Literal["sqlite", "postgresql", "dynamodb", "cosmos"] = Field(
        "sqlite",
        description="`sqlite`, `postgresql` (see records_dsn), `dynamodb` (aws_dynamodb_table) or "
        "`cosmos` (azure_cosmos_account)",
    )
    records_dsn: SecretStr | None = Field(None, description="connection string of PostgreSQL")
    objects: Literal["filesystem", "s3", "azure_blob"] = Field(
        "filesystem",
        description="`filesystem`, `s3`: S3 and compatible stores (aws_s3_bucket), or "
        "`azure_blob` (azure_storage_account)",
    )

    aws_region: str = Field("", description="AWS region; else AWS_REGION, AWS_DEFAULT_REGION")
    aws_profile: str = Field("", description="profile of the AWS configuration; else AWS_PROFILE")
    aws_dynamodb_table: str = Field("", description="table of the records; else AWS_DYNAMODB_TABLE")
    aws_s3_bucket: str = Field("", description="bucket of the objects; else AWS_S3_BUCKET")
    aws_s3_endpoint: str = Field(
        "", description="URL of an S3-compatible store; default: the region's own"
    )
    aws_s3_public_endpoint: str = Field(
        "", description="where clients reach that store, if elsewhere: begins signed URLs"
    )
    object_proxy: str = Field(
        "",
        description="URL of an S3-compatible store that the gateway alone reaches: it passes "
        "signed requests for the bucket on to it",
    )
    aws_s3_path_style: bool = Field(
        False, description="the bucket in the path of URLs, as many compatible stores want it"
    )
    aws_dynamodb_endpoint: str = Field("", description="URL of DynamoDB, for DynamoDB Local")
    aws_endpoint: str = Field("", description="URL of all other AWS services, for emulators")

    azure_cloud: Literal["public", "usgovernment", "china"] = Field(
        "public", description="which Azure: its host names"
    )
    azure_location: str = Field(
        "", description="Azure location, for labels and `wm setup azure`; else AZURE_LOCATION"
    )
    azure_cosmos_account: str = Field(
        "", description="Cosmos DB account of the records; else AZURE_COSMOS_ACCOUNT"
    )
    azure_cosmos_database: str = Field(
        "", description="database in that account; else AZURE_COSMOS_DATABASE"
    )
    azure_cosmos_container: str = Field(
        "", description="container in that database; else AZURE_COSMOS_CONTAINER"
    )
    azure_storage_account: str = Field(
        "", description="storage account of the objects; else AZURE_STORAGE_ACCOUNT"
    )
    azure_storage_container: str = Field(
        "", description="container of the objects in it; else AZURE_STORAGE_CONTAINER"
    )
    azure_cosmos_endpoint: str = Field("", description="URL of Cosmos DB, for emulators")
    azure_blob_endpoint: str = Field(
        "", description="URL of Blob Storage without the account, for emulators (Azurite)"
    )
    azure_vault_endpoint: str = Field("", description="URL of Key Vault, for emulators")
    azure_configuration_endpoint: str = Field(
        "", description="URL of App Configuration, for emulators"
    )
    azure_management_endpoint: str = Field(
        "", description="URL of Azure Resource Manager for `wm setup azure`, for emulators"
    )
    azure_ca_file: Path | None = Field(
        None, description="PEM of authorities instead of the public ones, for emulators"
    )

    grpc_host: str = Field("127.0.0.1", description="address of the gRPC port")
    grpc_port: int = Field(50051, ge=0, le=65535, description="0: any free port")
    http_host: str = Field("127.0.0.1", description="address of the HTTP port")
    http_port: int = Field(8080, ge=0, le=65535, description="0: any free port")
    public_url: str = Field(
        "", description="base of signed URLs and of links in mail; default: the HTTP address"
    )
    reflection: bool = Field(True, description="gRPC reflection (switch off in production)")
    tls_certificate: Path | None = Field(None, description="PEM chain; reloaded when it changes")
    tls_key: Path | None = Field(None, description="PEM key of tls_certificate")
    tls_client_ca: Path | None = Field(None, description="PEM of the CA for client certificates")
    max_connection_age: int = Field(
        1800, ge=10, le=86_400, description="seconds; clients then look up the addresses again"
    )

    targets: str = Field(
        "",
        description="what this process serves, as `project,storage`: of identity, project, "
        "storage, sync, gateway, relay; empty: all of it. See docs/operations/clusters.md",
    )
    peer_identity: str = Field(
        "", description="gRPC target of identity where another process serves it, as "
        "`dns:///identity:50051`"
    )
    peer_project: str = Field("", description="the same for project")
    peer_storage: str = Field("", description="the same for storage")
    peer_sync: str = Field("", description="the same for sync")
    peer_ca: Path | None = Field(
        None, description="PEM of the authority of the peers' certificates; reloaded"
    )
    peer_certificate: Path | None = Field(
        None,
        description="PEM chain that is shown to peers; reloaded. Default: tls_certificate",
    )
    peer_key: Path | None = Field(None, description="PEM key of peer_certificate")
    peer_trust_domain: str = Field(
        "workspace",
        pattern=r"^[a-z0-9._-]{1,255}$",
        description="SPIFFE trust domain: a certificate with the name "
        "`spiffe://<trust domain>/project` may call as project",
    )
    operations_host: str = Field(
        "127.0.0.1",
        description="address of the two ports below; nothing secret passes there, so they are "
        "without TLS",
    )
    probe_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="gRPC health alone, for probes of an orchestrator. With it a process whose "
        "backends are not there yet starts all the same, says why, and waits",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="/metrics, /healthz and /readyz; the HTTP port has no /metrics then",
    )
    migrate_at_start: bool = Field(
        True, description="off: `wm migrate` makes and changes the tables of PostgreSQL, no server"
    )

    drain_delay: float = Field(0.0, ge=0, le=60, description="wait after health goes down")
    drain_grace: float = Field(10.0, ge=0, le=120, description="time for calls to finish")
    max_message_bytes: int = Field(4 * 1024 * 1024, ge=65_536, description="gRPC and JSON bodies")
    max_concurrent_rpcs: int = Field(1000, ge=1, description="more are RESOURCE_EXHAUSTED")
    user_calls_per_minute: int = Field(
        30_000,
        ge=0,
        description="calls of one user in a process; as many at once, then that many a minute, "
        "more are RESOURCE_EXHAUSTED with the time to wait. 0: no limit",
    )
    address_calls_per_minute: int = Field(
        6000,
        ge=0,
        description="the same for calls of one address that are anonymous or refused; clients "
        "behind a proxy are one address. 0: no limit",
    )
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a TTY")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level that is logged"
    )
    local_token_seconds: int = Field(3600, ge=60, le=3600, description="life of local tokens")
    local_realm: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$",
        description="people who sign in locally are the same on all nodes with this name; set it "
        "before the first sign-in. Default: this instance alone",
    )
    oidc_issuer: str = Field(
        "", description="exact `iss` of a sign-in provider (https); `oidc_issuers` takes several"
    )
    oidc_audience: str = Field("", description="exact `aud` of its tokens; needed with oidc_issuer")
    oidc_algorithm: Literal["RS256", "PS256", "ES256", "ES384", "EdDSA"] = Field(
        "RS256", description="the one algorithm of its tokens"
    )
    oidc_groups_claim: str = Field("groups", description="claim whose list is recorded")
    oidc_issuers: tuple[RemoteIssuer, ...] = Field(
        (),
        description="JSON list of issuers, as `[[identity.issuers]]` of backend.toml: issuer, "
        "audience, algorithm, types, groups_claim, max_token_seconds; or, with kind `cognito`: "
        "user_pool_id, client_ids, region, token_use, max_token_seconds; or, with kind `entra`: "
        "tenant_id, client_ids, token_use, token_version, cloud, external, scopes, "
        "authorized_clients, guests, max_token_seconds",
    )
    oidc_ca_file: Path | None = Field(
        None,
        description="PEM of the authorities of issuers (not of AWS and Entra); default: the "
        "system's",
    )
    cognito_user_pool_id: str = Field(
        "", description="Amazon Cognito user pool whose people may sign in, as us-east-1_AbCdEfGhI"
    )
    cognito_client_ids: str = Field(
        "",
        description="app clients of that pool whose tokens are taken, as `id,id`; needed with it",
    )
    cognito_token_use: Literal["access", "id"] = Field(
        "access", description="kind of its tokens that is taken; verified addresses are in `id`"
    )
    cognito_endpoint: str = Field(
        "",
        description="for tests: an emulator on this machine, `http://127.0.0.1:PORT`, from which "
        "the keys of pools are read; refused when a port is open beyond loopback",
    )
    entra_tenant_id: str = Field(
        "",
        description="Microsoft Entra tenant (a GUID) whose people may sign in; its cloud is "
        "azure_cloud",
    )
    entra_client_ids: str = Field(
        "",
        description="applications of that tenant for which its tokens are, as `id,id`; needed "
        "with it",
    )
    entra_token_use: Literal["access", "id"] = Field(
        "access", description="kind of its tokens that is taken"
    )
    entra_token_version: Literal["1.0", "2.0"] = Field(
        "2.0", description="version of its tokens; 1.0 for registrations that were not changed"
    )
    entra_external: bool = Field(
        False, description="it is an external tenant (External ID, TENANT.ciamlogin.com)"
    )
    entra_endpoint: str = Field(
        "",
        description="for tests: an emulator on this machine, `http://127.0.0.1:PORT`, from which "
        "the keys of tenants are read; refused when a port is open beyond loopback",
    )
    download_seconds: int = Field(300, ge=30, le=900, description="default life of download URLs")
    upload_seconds: int = Field(3600, ge=60, le=3600, description="default life of upload URLs")
    permission_cache: bool = Field(
        True, description="cache facts of permission decisions (off: for comparison)"
    )
    mail: Literal["folder", "smtp", "ses", "communication", "off"] = Field(
        "folder",
        description="where mail to people goes; `folder`: `mail/` in the data folder, `ses`: "
        "Amazon SES, `communication`: Azure Communication Services; in both the domain or "
        "address of mail_from must be verified",
    )
    mail_from: str = Field("workspace@localhost", description="sender address of mail")
    smtp_host: str = Field("", description="mail server, with `WM_MAIL=smtp`")
    smtp_port: int = Field(587, ge=1, le=65535, description="587 with starttls, 465 with tls")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="`none` only for a server on this machine"
    )
    smtp_username: str = Field("", description="sign-in at the mail server; may be empty")
    smtp_password: SecretStr | None = Field(None, description="password at the mail server")
    ses_configuration_set: str = Field(
        "", description="configuration set of SES, for delivery events; default: the identity's"
    )
    ses_identity_arn: str = Field(
        "", description="identity of another account that lets this one send for it; with ses"
    )

    azure_communication_endpoint: str = Field(
        "",
        description="endpoint of the Communication Services resource, as "
        "`https://NAME.europe.communication.azure.com`, with `WM_MAIL=communication`",
    )

    events: Literal["off", "eventbridge", "eventgrid"] = Field(
        "off",
        description="where else activity events are published (aws_event_bus, azure_event_topic)",
    )
    azure_event_topic: str = Field(
        "",
        description="endpoint of an Event Grid topic of schema CloudEvents, as "
        "`https://NAME.LOCATION-1.eventgrid.azure.net/api/events`, with `WM_EVENTS=eventgrid`",
    )
    aws_event_bus: str = Field(
        "default", description="name or ARN of the EventBridge bus, with `WM_EVENTS=eventbridge`"
    )
    keys_secret: str = Field(
        "",
        description="where the key files of `keys/` are kept, for containers without a lasting "
        "folder: `secretsmanager:NAME`, `ssm:/path`, `keyvault:VAULT/NAME` or `file:/path`; others "
        "of these settings that are secret may be such references too, or `appconfig:STORE/KEY`, "
        "each with `#member` for one member of a JSON object",
    )

    webhook_networks: str = Field(
        "", description="networks, not public, that may receive webhooks, as `10.1.0.0/16,...`"
    )
    webhook_ca_file: Path | None = Field(
        None, description="PEM of authorities of webhook receivers, beside the public ones"
    )
    sync_places: str = Field(
        "",
        description="folders, hosts and stores, as `/srv/backup,db.example.org,"
        "s3:backup-bucket,dynamodb:eu-central-1/backup,cosmos:account/db/items,"
        "blob:account/files`, to which account owners may connect; empty: any while both ports are "
        "local, the gateway is in this process and nobody signs in from elsewhere, else none "
        "(platform admins: always any)",
    )
    trash_days: int = Field(30, ge=1, le=3650, description="retention of the trash")
    sync_node_lease_days: int = Field(
        30, ge=1, le=3650, description="a node that syncs and is silent for longer shows as SILENT"
    )
    sync_retention_days: int = Field(
        30, ge=1, le=3650, description="how old deletions are at least before they are purged"
    )
    sync_history_days: int = Field(365, ge=1, le=3650, description="how long ended runs are kept")
    sync_history_runs: int = Field(
        1000, ge=1, le=100_000, description="ended runs that are kept of one connection"
    )

    @field_validator("webhook_networks")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for network in filter(None, map(str.strip, text.split(","))):
            ipaddress.ip_network(network)
        return text

    @property
    def provider(self) -> str:
        """`local`, `aws` or `azure`: what records and objects live on. A store that
        is hosted by its users counts as local."""
        return {"dynamodb": "aws", "cosmos": "azure"}.get(self.records, "local")

    @property
    def loopback_only(self) -> bool:
        """Both ports are reachable from this machine alone."""
        return all(is_loopback(host) for host in (self.grpc_host, self.http_host))

    @property
    def for_this_machine(self) -> bool:
        """Nobody else is meant to come, through a proxy in front neither."""
        public = urlsplit(self.public_url).hostname or "localhost"
        return self.loopback_only and is_loopback(public)


def is_loopback(host: str) -> bool:
    """`localhost`, or an address of the loopback networks."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
