"""One side of the two-process ring test: runs until it has moved its share or is killed, and can be started again.

Message number n carries n and a digest of n, and lies at ring position n; so "nothing lost, nothing twice, nothing
torn, over any number of kills" is one comparison per message.
"""

import os
import select
import sys
import zlib

from mixline.ipc.rings import Consumer, Descriptor, Producer
from mixline.ipc.segments import map_segment
from mixline.ipc.words import Bell, Words

RING_SLOTS = 256
WORDS_AT = 0
RING_AT = 1024
SIZE = 32 * 1024
PRODUCER_SLEEPS, CONSUMER_SLEEPS, VERIFIED, FAULT = range(4)
MIX = 0x9E3779B97F4A7C15


def digest(number):
    return (number * MIX ^ number >> 7) & 0xFFFFFFFFFFFFFFFF


def wait_for(fd):
    """Up to a second, whatever the number of the descriptor."""
    waits = select.poll()
    waits.register(fd, select.POLLIN)
    waits.poll(1000)


def produce(memory, words, total, own_bell, other_bell):
    ring = Producer(memory, RING_AT, RING_SLOTS)
    message = Descriptor()
    while ring.position < total:
        number = ring.position
        message.epoch, message.live_seq = number, digest(number)
        message.slot = message.generation = message.length = zlib.crc32(number.to_bytes(8, "little"))
        if ring.push(message):
            other_bell.toll()
            continue
        own_bell.lie_down()
        if not ring.push(message):
            wait_for(own_bell.fd)
        own_bell.rise()
        other_bell.toll()


def consume(memory, words, total, own_bell, other_bell):
    ring = Consumer(memory, RING_AT, RING_SLOTS)
    message = Descriptor()
    if ring.position not in (words.load(VERIFIED), words.load(VERIFIED) - 1):
        words.store(FAULT, 1)
    while ring.position < total:
        if not ring.peek(message):
            own_bell.lie_down()
            if not ring.peek(message):
                wait_for(own_bell.fd)
            own_bell.rise()
            continue
        number = ring.position
        check = zlib.crc32(number.to_bytes(8, "little"))
        if (message.epoch, message.live_seq, message.slot, message.length) != (number, digest(number), check, check):
            words.store(FAULT, 2)
        words.store(VERIFIED, number + 1)
        ring.advance()
        other_bell.toll()


def main():
    side, fd, total, producer_bell, consumer_bell = sys.argv[1], *(int(each) for each in sys.argv[2:])
    memory = map_segment(fd, SIZE, writable=True)
    words = Words(memory, WORDS_AT, 4, 64)
    bells = [Bell(words, PRODUCER_SLEEPS, producer_bell), Bell(words, CONSUMER_SLEEPS, consumer_bell)]
    if side == "produce":
        produce(memory, words, total, *bells)
    else:
        consume(memory, words, total, *reversed(bells))
    os._exit(0)


if __name__ == "__main__":
    main()
