import { setTimeout as sleep } from 'node:timers/promises';
import type { BankStatus } from './guest-control.js';

export interface AuditResult {
  /** Whether both ends of every connection came to the same sums while no new money was moved. */
  readonly settled: boolean;
  readonly total: number;
  readonly expected: number;
  /** Errors that the banks themselves saw (lost, doubled, reordered or corrupt moves), and connections that had to be made again. */
  readonly errors: number;
  readonly reconnects: number;
  readonly moves: number;
  /** What is wrong, in words; empty when all is well. */
  readonly complaints: readonly string[];
}

/** Judges the banks of a cluster by what all of them said while held. */
export function judgeBanks(banks: readonly BankStatus[]): AuditResult {
  const complaints: string[] = [];
  const byAddress = new Map(banks.map((bank) => [bank.address, bank]));
  let settled = true;
  for (const bank of banks) {
    if (bank.errors > 0) complaints.push(`${bank.address}: ${bank.errors} errors, first: ${bank.error}`);
    for (const link of bank.links) {
      const back = byAddress.get(link.peer)?.links.find((other) => other.peer === bank.address);
      if (!back || back.received !== link.sent || back.received_sum !== link.sent_sum) settled = false;
    }
  }
  const sum = (value: (bank: BankStatus) => number): number => banks.reduce((total, bank) => total + value(bank), 0);
  const [total, expected] = [sum((bank) => bank.balance), sum((bank) => bank.initial)];
  if (settled && total !== expected) complaints.push(`the total is ${total} instead of ${expected}`);
  return { settled, total, expected, errors: sum((bank) => bank.errors), reconnects: sum((bank) => bank.reconnects), moves: sum((bank) => bank.moves), complaints };
}

/** Holds all banks, waits until what is on the way has arrived, judges, and lets them go on. `ask` sends one command to the bank of a guest. */
export async function auditBanks(addresses: readonly string[], ask: (address: string, command: string) => Promise<BankStatus>, options: { timeout_ms?: number } = {}): Promise<AuditResult> {
  const timeout_ms = options.timeout_ms ?? 10_000;
  // The hold ends by itself, should we not live to say so.
  const all = (command: string): Promise<BankStatus[]> => Promise.all(addresses.map((address) => ask(address, command)));
  await all(`hold ${timeout_ms + 5_000}`);
  try {
    const until = Date.now() + timeout_ms;
    for (;;) {
      const result = judgeBanks(await all('audit'));
      if (result.settled) return result;
      if (Date.now() > until) return { ...result, complaints: [...result.complaints, `sums did not settle within ${timeout_ms} ms`] };
      await sleep(100);
    }
  } finally {
    await all('go');
  }
}
