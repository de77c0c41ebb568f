// Runs inside the lab's site and takes connections from outside it over a unix socket, which no network namespace hides: the first line names
// the address and port to connect to, then bytes pass both ways. Self-contained: it is run from source in tests and from dist otherwise.
import net from 'node:net';

const LINE = 100;
const path = process.argv[2];
if (path === undefined) throw new Error('usage: portal SOCKET');

function pass(outer: net.Socket, head: Buffer): void {
  const end = head.indexOf(10);
  if (end < 0 || end > LINE) { outer.destroy(); return; }
  const [host, port, ways] = head.subarray(0, end).toString().split(' ');
  // For who goes on hearing after he has said all.
  outer.allowHalfOpen = ways === 'half-open';
  const inner = net.connect({ host: host ?? '', port: Number(port), noDelay: true, allowHalfOpen: outer.allowHalfOpen });
  inner.on('error', () => { outer.destroy(); });
  outer.on('error', () => { inner.destroy(); });
  inner.once('connect', () => {
    inner.write(head.subarray(end + 1));
    inner.pipe(outer);
    outer.pipe(inner);
  });
  // What was said last still arrives: a server's refusal, before it hangs up.
  inner.once('close', () => { outer.destroySoon(); });
  outer.once('close', () => { inner.destroySoon(); });
}

net.createServer({ pauseOnConnect: false }, (outer) => {
  outer.once('error', () => { outer.destroy(); });
  outer.once('data', (head: Buffer) => { outer.pause(); pass(outer, head); });
}).listen(path, () => { console.log('ready'); });
