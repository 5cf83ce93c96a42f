"""Cards of Acme, emulated."""
