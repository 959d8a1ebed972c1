"""The whole state of a machine in one sealed file, and back: `voiceauth backup` and `voiceauth restore`."""
