import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Lab } from './lab.js';
import { LabUnavailable } from './namespaces.js';
import type { Program } from './program.js';

const OPEN_MS = 10_000;

/** A line for each frame that enters from an interface: when, and whose. A packet socket is what Node has not. */
const WATCH = `
import json, socket, sys, time
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
packets.bind((sys.argv[1], 0))
print(json.dumps({"open": True}), flush=True)
while True:
    frame, where = packets.recvfrom(65536)
    if where[2] != socket.PACKET_OUTGOING:
        print(json.dumps({"at_ms": time.time() * 1000, "mac": frame[6:12].hex(":"), "bytes": len(frame)}), flush=True)
`;

const Frame = z.object({ at_ms: z.number(), /** Of its sender. */ mac: z.string(), bytes: z.int() });
export type Frame = z.infer<typeof Frame>;

/** Everything that one host says on the outside network, seen at the other end of its cable. */
export class FrameWatch {
  private constructor(private readonly program: Program) {}

  static async open(lab: Lab, host: string): Promise<FrameWatch> {
    const program = lab.start(null, { name: `frames-${host}-${lab.host(host).life}-${Date.now()}`, command: ['python3', '-c', WATCH, lab.outsideEnd(host)] });
    for (let waited_ms = 0; !readFileSync(program.log, 'utf8').includes('open'); waited_ms += 20) {
      if (!program.running || waited_ms > OPEN_MS) throw new LabUnavailable(`frames cannot be watched: ${program.tail()}`);
      await sleep(20);
    }
    return new FrameWatch(program);
  }

  /** So far. A line that is being written is of the next look. */
  get frames(): Frame[] {
    return readFileSync(this.program.log, 'utf8').split('\n').slice(0, -1).filter((line) => !line.includes('open')).map((line) => Frame.parse(JSON.parse(line)));
  }

  async close(): Promise<void> { await this.program.stop(); }
}
