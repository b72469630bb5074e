"""Carries requests to the gateway: the only importers of aiohttp on the client's side."""
