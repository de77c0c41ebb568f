import { setTimeout as sleep } from 'node:timers/promises';

/** Waits, or less when the signal is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // An abort is the other end of the wait, not a failure of it.
  await sleep(ms, undefined, { signal }).catch((error: unknown) => { if (!signal.aborted) throw error; });
}
