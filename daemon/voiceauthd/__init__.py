"""A voice-authentication daemon: who is speaking, in real time, over a local socket."""

__version__ = "0.1.0"
