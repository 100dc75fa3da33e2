#!/usr/bin/env python3
"""Runs Python programs in forked children of one process that has already imported torch, which takes seconds.

forked.py SOCKET                      is the server; it ends when its standard input ends
forked.py SOCKET PROGRAM ARGUMENTS    runs PROGRAM in a child of the server, with the folder, standard output and error
                                      of this process, and ends with its exit code
"""
import os
import runpy
import socket
import sys


def serve(path):
    import select

    import h5py  # noqa: F401
    import torch  # noqa: F401
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path + ".new")
        server.listen()
        os.rename(path + ".new", path)  # now clients that see it can connect
        while server in select.select([server, sys.stdin], [], [])[0]:
            client, _ = server.accept()
            with client:
                request, outputs, _, _ = socket.recv_fds(client, 1 << 20, 2)
                child = os.fork()
                if child == 0:
                    for number, output in enumerate(outputs, 1):
                        os.dup2(output, number)
                    main(*request.decode().split("\0"))
                for output in outputs:
                    os.close(output)
                _, status = os.waitpid(child, 0)
                client.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def main(folder, program, *arguments):
    """Run a program in this process, and end with the exit code and traceback that it would have in its own process."""
    code = 1
    try:
        os.chdir(folder)
        sys.argv = [program, *arguments]
        sys.path[0] = os.path.dirname(program)
        runpy.run_path(program, run_name="__main__")
        code = 0
    except SystemExit as e:
        code = e.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ask(path, *request):
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, ["\0".join((os.getcwd(), *request)).encode()], [1, 2])
        answer = server.recv(16)
    sys.exit(int(answer) if answer else "forked.py: the server is gone")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        ask(*sys.argv[1:])
