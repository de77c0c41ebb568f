import { ApiError, BusRefused, BusUnavailable, LogMismatch, ServerTooOld } from '@virtcft/bus';

/** Exit codes, a contract for scripts: shown by `virtcft --help`. */
export const exit = { ok: 0, failed: 1, usage: 2, notFound: 3, unavailable: 4, refused: 5, gaveWay: 6 } as const;
export type ExitCode = (typeof exit)[keyof typeof exit];

/** Ends a command: why, and what to do next. */
export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(readonly exitCode: ExitCode, message: string, readonly next = '', options?: ErrorOptions) {
    super(message, options);
  }
}

const codes: Readonly<Record<string, ExitCode>> = {
  'bad-request': exit.usage, 'not-found': exit.notFound, unavailable: exit.unavailable, timeout: exit.unavailable,
  'not-allowed': exit.refused, conflict: exit.refused, 'host-in-use': exit.refused, 'too-many': exit.refused, 'confirmation-needed': exit.refused, 'not-now': exit.refused,
};

export interface Failure { readonly exitCode: ExitCode; readonly code: string; readonly message: string; readonly next: string }

/** Every error as the code and the lines a person sees. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CliError) return { exitCode: error.exitCode, code: Object.entries(exit).find(([, code]) => code === error.exitCode)?.[0] ?? 'failed', message: error.message, next: error.next };
  if (error instanceof ApiError) return { exitCode: codes[error.code] ?? exit.failed, code: error.code, message: error.message, next: error.next };
  if (error instanceof BusUnavailable || error instanceof ServerTooOld) return { exitCode: exit.unavailable, code: 'unavailable', message: error.message, next: error.next };
  if (error instanceof BusRefused) return { exitCode: exit.refused, code: 'refused', message: error.message, next: error.next };
  if (error instanceof LogMismatch) return { exitCode: exit.failed, code: 'log-mismatch', message: error.message, next: error.next };
  return { exitCode: exit.failed, code: 'failed', message: error instanceof Error ? error.message : String(error), next: '' };
}
