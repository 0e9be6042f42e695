"""The object store in a container of Azure Blob Storage."""

from services.objects.azure_blob.driver import AzureBlobDriver

__all__ = ["AzureBlobDriver"]
