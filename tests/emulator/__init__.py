"""Tests of the emulator, made with raw HTTP and raw sockets, never with the SDK's own client."""
