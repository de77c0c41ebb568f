# A guest's NIC for the tests, as a hypervisor shows it (Node has no unix datagrams): frames in hexadecimal, one a line,
# from stdin to the fabric's port and from the socket to stdout. Usage: fabric-guest.py <own path> <port path>
import os, select, socket, sys

own, port = sys.argv[1:3]
nic = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
nic.bind(own)
print('ready', flush=True)
pending = b''
while True:
    ready, _, _ = select.select([nic, 0], [], [])
    if nic in ready:
        print(nic.recv(65536).hex(), flush=True)
    if 0 in ready:
        read = os.read(0, 65536)
        if not read:
            break
        *lines, pending = (pending + read).split(b'\n')
        for line in lines:
            nic.sendto(bytes.fromhex(line.decode()), port)
os.unlink(own)
