import { connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP server that passes connections on; what comes back from behind it is late by `delay_ms`, in order. What goes there is not. */
export class StreamRelay {
  private readonly open = new Set<Socket>();
  private constructor(private readonly server: Server, public delay_ms: number) {}

  static async open(at: { readonly host: string; readonly port: number }, behind: { readonly host: string; readonly port: number }, delay_ms: number): Promise<StreamRelay> {
    const server = createServer();
    const relay = new StreamRelay(server, delay_ms);
    server.on('connection', (outer) => { relay.pass(outer, connect(behind)); });
    await new Promise<void>((resolve, reject) => { server.once('error', reject).listen(at.port, at.host, resolve); });
    return relay;
  }

  close(): void {
    this.server.close();
    for (const socket of this.open) socket.destroy();
  }

  private pass(outer: Socket, inner: Socket): void {
    for (const socket of [outer, inner]) {
      this.open.add(socket);
      socket.setNoDelay(true);
      socket.once('close', () => { this.open.delete(socket); outer.destroy(); inner.destroy(); });
      socket.on('error', () => { socket.destroy(); });
    }
    outer.pipe(inner);
    // Each piece waits for itself alone; a delay made shorter must not let a later piece overtake.
    let last_ms = 0;
    inner.on('data', (data: Buffer) => {
      last_ms = Math.max(last_ms, performance.now() + this.delay_ms);
      setTimeout(() => { if (!outer.destroyed) outer.write(data); }, last_ms - performance.now());
    });
  }
}
