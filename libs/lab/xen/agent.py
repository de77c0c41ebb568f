# Runs programs in dom0 for the lab. A connection is one program: a line of JSON {"words": [...]}, then its standard input until the
# other side half-closes. Answers in frames of kind (o output, e errors, x exit code in digits), length (32 bits, big-endian) and bytes.
import json
import os
import socketserver
import struct
import subprocess
import threading

MOST_LINE_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16


class Connection(socketserver.StreamRequestHandler):
    def frame(self, kind, content):
        with self.one_at_a_time:
            self.request.sendall(kind + struct.pack('>I', len(content)) + content)

    def pass_on(self, kind, source):
        while chunk := os.read(source.fileno(), CHUNK_BYTES):
            self.frame(kind, chunk)

    def feed(self, program):
        try:
            while chunk := self.rfile.read1(CHUNK_BYTES):
                program.stdin.write(chunk)
                program.stdin.flush()  # it may answer before more comes
            program.stdin.close()
        except BrokenPipeError:
            pass  # the program wants no more; its exit code tells

    def handle(self):
        self.one_at_a_time = threading.Lock()
        line = self.rfile.readline(MOST_LINE_BYTES)
        if not line.endswith(b'\n'):
            return  # a probe of whether somebody listens
        try:
            program = subprocess.Popen(json.loads(line)['words'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.frame(b'e', str(error).encode())
            self.frame(b'x', b'127')
            return
        parts = [threading.Thread(target=self.pass_on, args=(b'o', program.stdout)), threading.Thread(target=self.pass_on, args=(b'e', program.stderr))]
        threading.Thread(target=self.feed, args=(program,), daemon=True).start()
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        self.frame(b'x', str(program.wait()).encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(('0.0.0.0', 2222), Connection).serve_forever()
