"""Mail to people: the port, and drivers for a folder and for SMTP."""
