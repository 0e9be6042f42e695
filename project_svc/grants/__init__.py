"""Grants: given, changed, revoked, asked for, invited to, and given anew to orphans."""
