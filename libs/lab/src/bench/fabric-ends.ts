// Runs inside a machine of the lab: both ends of the fabric bench. Usage: far | stream <address> | ping <address> <times>
// `far` answers on every address of its machine: it takes a stream and says how much came, and sends each ping back.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

const STREAM_PORT = 5001;
const PING_PORT = 5002;
/** TCP has found its rate by then. */
const WARM_UP_MS = 400;
const WINDOW_MS = 2_000;
const CHUNK_BYTES = 1 << 20;
const PING_BYTES = 64;

export interface Streamed { readonly bytes: number; readonly ms: number }

/** Counts from the end of the warm-up to the end of the window, tells the sender, and hangs up. */
function takeStream(socket: Socket): void {
  let bytes = 0;
  let from_ms = 0;
  socket.on('data', (data: Buffer) => { bytes += data.length; });
  socket.on('error', () => socket.destroy());
  setTimeout(() => { bytes = 0; from_ms = performance.now(); }, WARM_UP_MS);
  setTimeout(() => { socket.end(`${JSON.stringify({ bytes, ms: performance.now() - from_ms } satisfies Streamed)}\n`); }, WARM_UP_MS + WINDOW_MS);
}

function far(): void {
  createServer(takeStream).listen(STREAM_PORT);
  createServer((socket) => { socket.setNoDelay(true).pipe(socket).on('error', () => socket.destroy()); }).listen(PING_PORT);
}

async function stream(address: string): Promise<Streamed> {
  const socket = connect(STREAM_PORT, address);
  await once(socket, 'connect');
  let answer = '';
  socket.on('data', (data: Buffer) => { answer += data.toString(); });
  const chunk = Buffer.alloc(CHUNK_BYTES, 0x5a);
  const more = (): void => { while (!answer.endsWith('\n') && socket.write(chunk)); };
  socket.on('drain', more);
  more();
  while (!answer.endsWith('\n')) await once(socket, 'data');
  socket.destroy();
  return JSON.parse(answer) as Streamed;
}

/** Round trips in microseconds, one after the other. */
async function ping(address: string, times: number): Promise<number[]> {
  const socket = connect(PING_PORT, address).setNoDelay(true);
  await once(socket, 'connect');
  const samples: number[] = [];
  for (let i = 0; i < times; i += 1) {
    const from_ms = performance.now();
    socket.write(Buffer.alloc(PING_BYTES));
    for (let came = 0; came < PING_BYTES;) came += ((await once(socket, 'data')) as [Buffer])[0].length;
    samples.push((performance.now() - from_ms) * 1000);
  }
  socket.destroy();
  return samples;
}

const [what, address = '', times = '0'] = process.argv.slice(2);
if (what === 'far') far();
else {
  process.stdout.write(`${JSON.stringify(what === 'stream' ? await stream(address) : await ping(address, Number(times)))}\n`);
  process.exit();
}
