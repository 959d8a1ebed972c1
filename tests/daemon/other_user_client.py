"""A client that tests run as another user, who cannot read this project's files: it needs only the standard library.

    python3 other_user_client.py SOCKET < calls

Reads calls, one line of JSON each, and prints the last answer to each.
"""

import json
import socket
import sys


def main() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(sys.argv[1])
        stream = connection.makefile("rw")
        for call in sys.stdin:
            stream.write(call)
            stream.flush()
            answer = json.loads(stream.readline())
            while answer.get("continues"):
                answer = json.loads(stream.readline())
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
