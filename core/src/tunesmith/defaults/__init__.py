"""The host's own plugin, offered through the same hooks as everybody else's."""
