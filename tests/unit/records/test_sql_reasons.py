"""Why a connection to PostgreSQL was not made, without hosts and users."""

from __future__ import annotations

import psycopg
import pytest

from services.records.sql.reasons import failure_kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('FATAL:  password authentication failed for user "ann"', "it refuses the password"),
        ("fe_sendauth: no password supplied", "it wants a password"),
        ('FATAL:  database "plans" does not exist', "it has no such database"),
        ('FATAL:  role "ann" does not exist', "it has no such user"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.7"', "it lets nobody in from here"),
        ("port 5432 failed: Connection refused", "nothing listens there"),
        ("failed to resolve host 'db.example.com'", "its host is not known"),
        ('could not translate host name "db" to address', "its host is not known"),
        ("connection timeout expired", "no answer in time"),
        ("FATAL:  the database system is starting up", "it is starting"),
        ("FATAL:  sorry, too many clients already", "it has no connection left"),
        ("SSL error: certificate verify failed", "its certificate is not trusted"),
        ("server does not support SSL, but SSL was required", "TLS cannot be agreed on"),
        ("Verbindung abgelehnt von db.example.com", "OperationalError"),
    ],
)
def test_what_libpq_says(said: str, kind: str) -> None:
    assert failure_kind(psycopg.OperationalError(said)) == kind


def test_a_state_of_the_server_is_named() -> None:
    assert failure_kind(psycopg.errors.DiskFull("could not extend file")) == "53100"
