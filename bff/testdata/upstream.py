"""A server that misbehaves as it is told: /…/CASE?length=1&pause=MS.

See proxy_matrix_test.go.
"""

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PARTS = [letter * 3000 for letter in (b"a", b"b", b"c")]
SIZE = 9000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def handle_expect_100(self):
        self.close_connection = True  # an Expect that was passed on
        return False

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_one(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        kind = url.path.rsplit("/", 1)[1]
        pause = float(query.get("pause", ["0"])[0]) / 1000
        chunked = "length" not in query
        early = kind.startswith("early")
        if not early:
            self.read_body()
        if kind == "pause-header":
            time.sleep(pause)
        elif kind == "hundred":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif kind == "hint":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: gatehouse=planted\r\n\r\n")
        elif kind == "abort-start":
            self.close_connection = True
            return
        elif kind == "abort-header":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: te")
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(SIZE + (kind == "abort-end")))
        if kind == "early-close":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        for i, part in enumerate(PARTS):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            if i == 0 and kind == "abort-part":
                self.close_connection = True
                return
            if i == 0 and kind == "pause-chunk":
                time.sleep(pause)
        if kind == "abort-end":
            self.close_connection = True
            return
        if kind == "pause-end":
            time.sleep(pause)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        if kind == "early-close":
            self.close_connection = True
        elif early:
            self.read_body()

    do_GET = do_POST = handle_one


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a proxy that hangs up


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)


def watch():
    sys.stdin.read()  # the test is gone
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()
server.serve_forever()
