"""Bytes between processes: wire frames, segments, slots, arenas, rings, counters and the OS calls under them."""
