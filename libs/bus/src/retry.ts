import { setTimeout as sleep } from 'node:timers/promises';
import { JetStreamApiError } from '@nats-io/jetstream';
import { ClosedConnectionError, ConnectionError, DrainingConnectionError, NoRespondersError, PermissionViolationError, RequestError, TimeoutError } from '@nats-io/transport-node';
import { limits } from './limits.js';

export const delay = (ms: number): Promise<void> => sleep(ms);

const because = (error: unknown): unknown => (error instanceof Error ? error.cause : undefined);

/** Whether the same call may succeed later: no answer, no connection, or a server that has no leader or no JetStream yet. */
export function transient(error: unknown): boolean {
  if (forbidden(error)) return false;
  if (error instanceof JetStreamApiError) return error.status === 503 || error.status === 500 || error.status === 408;
  if (error instanceof RequestError || error instanceof TimeoutError || error instanceof NoRespondersError || error instanceof ConnectionError) return true;
  // The client wraps some of them in errors of its own.
  return because(error) !== undefined && transient(because(error));
}

/** The connection was closed by us: whatever was under way ends. */
export const closed = (error: unknown): boolean =>
  error instanceof ClosedConnectionError || error instanceof DrainingConnectionError || (because(error) !== undefined && closed(because(error)));

/** The server says that this user has no right to the subject. */
export function forbidden(error: unknown): PermissionViolationError | null {
  if (error instanceof PermissionViolationError) return error;
  return because(error) === undefined ? null : forbidden(because(error));
}

/** 20, 40, 80 ... 1000 ms. */
export const backoff_ms = (attempt: number): number => Math.min(limits.retry_ms.first * 2 ** attempt, limits.retry_ms.most);

/** Waits, or less when the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => { clearTimeout(timer); signal.removeEventListener('abort', end); resolve(); };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
