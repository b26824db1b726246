"""A receiver on Python's standard library: RELAY_SECRET=whsec_… PORT=9000 python3 receiver.py"""

import base64
import binascii
import hashlib
import hmac
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 300  # seconds that a timestamp may lie from this machine's clock
LARGEST = 1 << 20

SECRET = os.environ["RELAY_SECRET"]
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))

# The deliveries that were done, by webhook-id. A real receiver keeps them in its
# database, in the transaction of the work; here they are forgotten at the end.
seen = set()
seen_lock = threading.Lock()


def verify(headers, body):
    """Raises ValueError unless body, the bytes as they came, was signed with the secret."""
    delivery, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not stamp.isascii() or not stamp.isdigit():
        raise ValueError("webhook-timestamp is missing, or no number")
    if abs(time.time() - int(stamp)) > TOLERANCE:
        raise ValueError("too old, or from the future")
    want = hmac.new(KEY, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    for signature in headers.get("webhook-signature", "").split():
        version, _, encoded = signature.partition(",")
        try:
            if version == "v1" and hmac.compare_digest(base64.b64decode(encoded), want):
                return
        except binascii.Error:
            pass  # not this one
    raise ValueError("no signature fits")


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections

    def do_POST(self):
        size = int(self.headers.get("Content-Length", 0))
        if size > LARGEST:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(size)
        try:
            verify(self.headers, body)
        except ValueError as err:
            print("refused", err, flush=True)
            return self.answer(401)
        try:
            event = json.loads(body)  # only now
        except ValueError:
            return self.answer(422)  # never: it becomes a dead letter that a person sees
        self.handle_once(self.headers["webhook-id"], event)
        self.answer(204)

    def handle_once(self, delivery, event):
        with seen_lock:
            if delivery in seen:
                print("duplicate", delivery, flush=True)
                return
            print("handled", self.headers["relay-subject"], event, flush=True)
            seen.add(delivery)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass  # no line of its own for each request


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 9000))), Receiver)
print(f"receiving on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
