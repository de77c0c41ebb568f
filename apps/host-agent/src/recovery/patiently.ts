import type { Logger } from '@virtcft/telemetry';
import { limits } from '../limits.js';
import { pause } from '../pause.js';
import { ReplicaStoreUnavailable } from './replica-client.js';

/** A store that is away for a moment costs nothing but time (R17): asked until it answers, or until nobody wants the answer any more. */
export async function patiently<T>(signal: AbortSignal, log: Logger, ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ReplicaStoreUnavailable) || signal.aborted) throw error;
      log.warn({ reason: error.message }, 'the replica store does not give what is asked for yet; asking again');
      await pause(limits.load_retry_ms, signal);
    }
  }
}
