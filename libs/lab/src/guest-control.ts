import type { Socket } from 'node:net';
import { z } from 'zod';

/** Longest answer of a guest's daemon: 64 links of a bank. */
const ANSWER_BYTES = 65_536;
const Count = z.number().min(0);

export const BankStatus = z.object({
  daemon: z.literal('bank'), address: z.string(), moves: Count, received: Count, errors: Count, error: z.string(), reconnects: Count,
  connected: Count, peers: Count, held: z.boolean(), initial: Count, balance: Count,
  links: z.array(z.object({ peer: z.string(), up: z.boolean(), sent: Count, sent_sum: Count, received: Count, received_sum: Count })),
});
export type BankStatus = z.infer<typeof BankStatus>;

export const PatternStatus = z.object({ daemon: z.literal('pattern'), pages: Count, written: Count, verified: Count, rounds: Count, errors: Count, error: z.string() });
export type PatternStatus = z.infer<typeof PatternStatus>;

/** The longest gap that the probe inside the guest saw since it was asked last, in the guest's own time. */
export const GapReport = z.object({ daemon: z.literal('gap'), longest_us: Count, samples: Count });
export type GapReport = z.infer<typeof GapReport>;

export const VectorStatus = z.object({
  daemon: z.literal('vector'), address: z.string(), errors: Count, error: z.string(), orphans: Count, reconnects: Count, connected: Count, peers: Count, checked: Count,
  links: z.array(z.object({ peer: z.string(), up: z.boolean(), sent: Count, received: Count, datagrams_sent: Count, datagrams_received: Count, datagrams_missed: Count })),
});
export type VectorStatus = z.infer<typeof VectorStatus>;

export const BlocksStatus = z.object({
  daemon: z.literal('blocks'), blocks: Count, prepared: Count, written: Count, verified: Count, rounds: Count, errors: Count,
  /** Not whole; whole, but not what was written last. */
  torn: Count, old: Count, error: z.string(),
});
export type BlocksStatus = z.infer<typeof BlocksStatus>;

export const DatabaseStatus = z.object({ daemon: z.literal('database'), transactions: Count, errors: Count, error: z.string(), /** Whether its two tables agree. */ sound: z.boolean() });
export type DatabaseStatus = z.infer<typeof DatabaseStatus>;

/** The guest obeys a second later. */
export const PowerOrder = z.object({ daemon: z.literal('power'), order: z.enum(['reboot', 'poweroff', 'panic']) });
export type PowerOrder = z.infer<typeof PowerOrder>;

/** The guest gave no answer in time, or not one of its daemon. */
export class GuestSilent extends Error {
  override readonly name = 'GuestSilent';
}

/** Asks one daemon one thing over a connection of its own. */
export async function askGuest<T>(connect: () => Socket, command: string, schema: z.ZodType<T>, timeout_ms = 5_000): Promise<T> {
  const socket = connect();
  try {
    const line = await new Promise<string>((resolve, reject) => {
      let text = '';
      const timer = setTimeout(() => { reject(new GuestSilent(`no answer to "${command}" within ${timeout_ms} ms`)); }, timeout_ms);
      socket.once('close', () => { clearTimeout(timer); reject(new GuestSilent(`the connection closed before "${command}" was answered`)); });
      socket.once('error', (error) => { reject(new GuestSilent(`no connection for "${command}": ${error.message}`)); });
      socket.on('data', (data: Buffer) => {
        text += data.toString();
        if (text.length > ANSWER_BYTES) reject(new GuestSilent(`the answer to "${command}" has no end`));
        const end = text.indexOf('\n');
        if (end >= 0) { clearTimeout(timer); resolve(text.slice(0, end)); }
      });
      socket.write(`${command}\n`);
    });
    return schema.parse(JSON.parse(line));
  } finally {
    socket.destroy();
  }
}
