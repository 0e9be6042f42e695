"""Objects as plain files in a folder; see `driver.py` for the promises."""

from services.objects.filesystem.driver import FilesystemDriver
from services.objects.filesystem.syscalls import Syscalls

__all__ = ["FilesystemDriver", "Syscalls"]
