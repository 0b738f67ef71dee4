"""Knocking at ports without a certificate; needs nothing but Python: `knocking.py tls://HOST:PORT ...`."""

import socket
import ssl
import sys


def knock(address):
    """Open a TLS connection that shows no certificate, and wait for the answer."""
    host, port = address.removeprefix("tls://").split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(b"\0" * 64)
        if connection.recv(1) == b"":
            raise OSError("closed")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        try:
            knock(each)
            print("let in")
        except OSError as error:
            print(f"refused: {error}")
