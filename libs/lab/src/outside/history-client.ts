import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { Line, NoAnswer, type Target } from './line.js';
import { Complaints, type RemembranceCheck } from './remembrance.js';

const ANSWER_MS = 10_000; // a recovery, and a retransmit after it
const CHECK_MS = 30_000;
const WRITERS = 2; // with more than one it is the guest that chooses the order

const Appended = z.object({ daemon: z.literal('history'), number: z.int().min(1), hash: z.string() });
const Hashes = z.object({ daemon: z.literal('history'), length: z.int().min(0), from: z.int().min(1), hashes: z.array(z.string()) });

/**
 * Outside clients that append to one guest's history, and remember the number and hash of every entry that they were told of. The guest's
 * history must always begin with exactly those: an entry that is gone, or another in its place, was taken back from the outside.
 */
export class HistoryClient {
  private readonly told = new Map<number, string>();
  private readonly lines: Line[];
  private readonly complaints = new Complaints();
  private highest = 0;
  private stopping = false;
  private working: Promise<void>[] = [];

  constructor(private readonly target: Target, private readonly appends_per_s: number) {
    this.lines = Array.from({ length: WRITERS }, () => new Line(target, ANSWER_MS));
  }

  get acked(): number { return this.told.size; }

  start(): void { this.working = this.lines.map((line, writer) => this.write(line, writer)); }

  private async write(line: Line, writer: number): Promise<void> {
    const pause_ms = 1_000 * WRITERS / this.appends_per_s;
    for (let turn = 1; !this.stopping; turn += 1) {
      const before = this.highest;
      const began_ms = performance.now();
      try {
        const { number, hash } = await line.ask(`append ${writer}-${turn}`, Appended);
        // What was told before this was asked comes before it in the one order there is.
        if (number <= before) this.complaints.add(`entry ${number} was made after entry ${before} had been told of`);
        if (this.told.has(number)) this.complaints.add(`entry ${number} was told of twice: ${this.told.get(number) ?? ''}, then ${hash}`);
        this.told.set(number, hash);
        this.highest = Math.max(this.highest, number);
      } catch (error) {
        // Whether it was appended nobody knows; the next one is another entry.
        if (!(error instanceof NoAnswer)) throw error;
        await sleep(50);
      }
      await sleep(Math.max(0, pause_ms - (performance.now() - began_ms)));
    }
  }

  /** Asks for the whole history over a new connection. May run while entries are appended. A guest that does not answer has lost everything. */
  async check(): Promise<RemembranceCheck> {
    const told = [...this.told].toSorted(([a], [b]) => a - b);
    const complaints = this.complaints.copy();
    const line = new Line(this.target, CHECK_MS);
    try {
      let from = 1, length = Infinity, hashes: string[] = [];
      for (const [number, hash] of told) {
        if (number >= from + hashes.length && number <= length) ({ from, length, hashes } = await line.ask(`hashes ${number}`, Hashes));
        const found = hashes[number - from];
        if (found !== hash) complaints.add(`entry ${number} is ${found ?? 'not there'}, and was told to be ${hash}`);
      }
      return { checked: told.length, broken: complaints.count, complaints: complaints.first };
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      return { checked: told.length, broken: Math.max(1, told.length), complaints: [error.message] };
    } finally {
      line.close();
    }
  }

  async stop(): Promise<void> {
    this.stopping = true;
    for (const line of this.lines) line.close();
    await Promise.all(this.working);
  }
}
