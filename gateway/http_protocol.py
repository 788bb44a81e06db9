"""uvicorn's HTTP/1.1, with a bound on the head of a request and refusals in JSON."""

from __future__ import annotations

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
LINGER_S = 1.0


class BoundedHttp(HttpToolsProtocol):
    """Refuses a request whose line and headers are larger than HEAD_BYTES (431).

    httptools keeps what it has of a head for as long as more comes: without a bound one connection
    could fill the memory.
    """

    _head_bytes = 0
    _is_in_head = True
    _is_refused = False

    def data_received(self, data: bytes) -> None:
        """Count what comes until a head is whole."""
        if self._is_refused:
            return
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES and not self._is_refused:
            self._refuse(431, f"the request's headers are larger than {HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole; a body has a bound of its own."""
        self.end_of_head()
        super().on_headers_complete()

    def end_of_head(self) -> None:
        """Count no further."""
        self._is_in_head, self._head_bytes = False, 0

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an error like any other."""
        self._refuse(400, msg.rstrip("."))

    def _refuse(self, status: int, reason: str) -> None:
        if self.transport.is_closing():
            return
        body = msgspec.json.encode({"error": reason})
        head = (
            f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        # Closing with bytes unread resets the connection, and the client would lose the answer.
        self._is_refused = True
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
