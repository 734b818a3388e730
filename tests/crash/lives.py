"""A server that is killed and started again under clients that go on: who waits for whom."""
import threading
import time

import darkroom

RESTART_SECONDS = 300


class Lives:
    """The lives of one server, from 1. Its port stays the same."""

    def __init__(self, server):
        self.server = server
        self.lock = threading.Condition()
        self.life, self.up = 0, False
        self.deaths = {}  # life -> when its process was gone, monotonic_ns

    def alive(self):
        """Waits until a server listens; which life it is."""
        with self.lock:
            darkroom.true(self.lock.wait_for(lambda: self.up, RESTART_SECONDS), "no server")
            return self.life

    def death_of(self, life, error):
        """When that server was dead; an error without a death is the server's fault, and raised."""
        with self.lock:
            if not self.lock.wait_for(lambda: life in self.deaths, RESTART_SECONDS):
                raise error
            return self.deaths[life]

    def start(self):
        self.server.start()
        self.server.listen = "%s:%d" % (self.server.host, self.server.port)
        with self.lock:
            self.life += 1
            self.up = True
            self.lock.notify_all()

    def kill(self):
        """kill -9, and a new life."""
        with self.lock:
            self.up = False
        self.server.kill()
        with self.lock:
            self.deaths[self.life] = time.monotonic_ns()
            self.lock.notify_all()
        self.start()
