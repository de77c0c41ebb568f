import { createConnection, type Socket } from 'node:net';
import { once } from 'node:events';

const OPTION = 0x49484156454f5054n;
export const NBD = { read: 0, write: 1, flush: 3, trim: 4, writeZeroes: 6 } as const;

/** A small NBD client of a unix socket, with simple replies. Requests may be under way at the same time. */
export class NbdClient {
  private received: Buffer = Buffer.alloc(0);
  private wake: () => void = () => undefined;
  private ended = false;
  private cookie = 0n;
  private readonly waiting = new Map<bigint, { length: number; settle: (error: number, data: Buffer) => void; refuse: (reason: Error) => void }>();
  bytes = 0;

  private constructor(private readonly socket: Socket) {
    socket.on('data', (data) => { this.received = Buffer.concat([this.received, data]); this.wake(); });
    socket.on('error', () => undefined);
    socket.on('close', () => { this.ended = true; this.wake(); });
  }

  static async connect(path: string): Promise<NbdClient> {
    const socket = createConnection(path);
    await once(socket, 'connect');
    const client = new NbdClient(socket);
    await client.take(18);
    const hello = Buffer.alloc(4 + 16 + 6);
    hello.writeUInt32BE(3, 0);
    hello.writeBigUInt64BE(OPTION, 4);
    hello.writeUInt32BE(7, 12);
    hello.writeUInt32BE(6, 16);
    socket.write(hello);
    for (;;) {
      const head = await client.take(20);
      const data = await client.take(head.readUInt32BE(16));
      if (head.readUInt32BE(12) === 1) break;
      if (data.readUInt16BE(0) === 0) client.bytes = Number(data.readBigUInt64BE(2));
    }
    void client.answers();
    return client;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const { error, data } = await this.call(NBD.read, offset, length);
    if (error !== 0) throw new Error(`read refused with ${error}`);
    return data;
  }

  /** The server's error number, 0 when there is none. */
  async write(offset: number, data: Buffer): Promise<number> { return (await this.call(NBD.write, offset, data.length, data)).error; }
  async zero(offset: number, length: number): Promise<number> { return (await this.call(NBD.writeZeroes, offset, length)).error; }
  async flush(): Promise<number> { return (await this.call(NBD.flush, 0, 0)).error; }

  call(command: number, offset: number, length: number, data?: Buffer): Promise<{ error: number; data: Buffer }> {
    const request = Buffer.alloc(28);
    const cookie = ++this.cookie;
    request.writeUInt32BE(0x25609513, 0);
    request.writeUInt16BE(command, 6);
    request.writeBigUInt64BE(cookie, 8);
    request.writeBigUInt64BE(BigInt(offset), 16);
    request.writeUInt32BE(length, 24);
    return new Promise((resolve, reject) => {
      if (this.ended) { reject(new Error('the connection has ended')); return; }
      this.waiting.set(cookie, { length: command === NBD.read ? length : 0, settle: (error, answer) => { resolve({ error, data: answer }); }, refuse: reject });
      this.socket.write(data ? Buffer.concat([request, data]) : request);
    });
  }

  close(): void { this.socket.destroy(); }

  private async answers(): Promise<void> {
    try {
      for (;;) {
        const head = await this.take(16);
        const request = this.waiting.get(head.readBigUInt64BE(8));
        const error = head.readUInt32BE(4);
        const data = await this.take(error === 0 ? request?.length ?? 0 : 0);
        this.waiting.delete(head.readBigUInt64BE(8));
        request?.settle(error, data);
      }
    } catch (reason) {
      for (const { refuse } of this.waiting.values()) refuse(reason as Error);
      this.waiting.clear();
    }
  }

  private async take(length: number): Promise<Buffer> {
    while (this.received.length < length) {
      if (this.ended) throw new Error('the connection has ended');
      await new Promise<void>((resolve) => { this.wake = resolve; });
    }
    const taken = this.received.subarray(0, length);
    this.received = this.received.subarray(length);
    return taken;
  }
}
