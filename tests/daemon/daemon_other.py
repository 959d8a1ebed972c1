"""A client for other users, who may have neither this project's packages nor its files: the standard library alone.

    python3 daemon_other.py SOCKET < calls

Reads calls, a line of JSON each, and prints the last answer to each.
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
