"""The object store in an S3 bucket (AWS, or a store that speaks its protocol)."""

from services.objects.s3.driver import S3Driver

__all__ = ["S3Driver"]
