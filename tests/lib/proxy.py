"""A proxy in front of a server that does something else with some of the requests."""
import http.client
import http.server
import threading
import urllib.parse

import darkroom


class Proxy:
    """Hands requests on to a server. `rule(request, method, key)` may do something else with one: it
    returns a function of (handler, response, body), which writes the answer, or None."""

    def __init__(self, server, rule=None):
        proxy = self
        self.rule, self.seen, self.lock = rule, {}, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                key = urllib.parse.unquote(self.path.split("?")[0])
                with proxy.lock:
                    proxy.seen[self.command, key] = count = proxy.seen.get((self.command, key), 0) + 1
                action = proxy.rule and proxy.rule(self, self.command, key, count)
                if action == "drop":
                    self.close_connection = True
                    return
                upstream = http.client.HTTPConnection(server.host, server.port, timeout=darkroom.ANSWER_SECONDS)
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    upstream.putheader(name, value)
                upstream.endheaders(body)
                response = upstream.getresponse()
                answer = response.read()
                upstream.close()
                (action or proxy.answer)(self, response, answer)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients that go away are expected
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def answer(handler, response, body, length=None, status=None):
        """The answer as it came, or with another body, status or length in its header."""
        try:
            handler.send_response_only(status or response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("content-length", "connection"):
                    handler.send_header(name, value)
            if handler.command == "HEAD":
                length = response.getheader("Content-Length", "0")
            handler.send_header("Content-Length", str(len(body) if length is None else length))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
