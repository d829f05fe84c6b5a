"""A small HTTP/1.1 server for the load generator's tests: one thread per connection, its answers made by a function."""

import contextlib
import socket
import threading


class HttpPeer:
    """Serves on loopback until closed. ``answer(number, path)`` gives raw bytes to send; None closes instead."""

    def __init__(self, answer):
        self.answer, self.count, self.lock = answer, 0, threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.open, self.threads = [], []
        self.start(self.accept)

    def start(self, work, *args):
        thread = threading.Thread(target=work, args=args)
        self.threads.append(thread)
        thread.start()

    def accept(self):
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self.open.append(peer)
            self.start(self.serve, peer)

    def serve(self, peer):
        waiting = b""
        while True:
            while b"\r\n\r\n" not in waiting:
                try:
                    got = peer.recv(65536)
                except OSError:
                    return
                if not got:
                    return
                waiting += got
            head, _, waiting = waiting.partition(b"\r\n\r\n")
            with self.lock:
                number, self.count = self.count, self.count + 1
            reply = self.answer(number, head.split()[1].decode())
            try:
                if reply is None:
                    peer.shutdown(socket.SHUT_RDWR)
                    return
                peer.sendall(reply)
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for peer in self.open:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for peer in self.open:
            peer.close()


def reply(body, status="200 OK", extra=""):
    """One whole reply."""
    return f"HTTP/1.1 {status}\r\nserver: test\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body
