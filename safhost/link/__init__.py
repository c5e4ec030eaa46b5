"""Ethernet links: raw sockets on interfaces, a hub in memory, recordings."""
