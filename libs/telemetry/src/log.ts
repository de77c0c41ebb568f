import pino, { type Logger as PinoLogger } from 'pino';

export type Logger = PinoLogger;

/** Fields that may hold a secret are never written, wherever a caller puts them. */
const secret = ['password', '*.password', 'pass', '*.pass', 'secret', '*.secret', 'secretKey', '*.secretKey', 'token', '*.token', 'authorization', '*.authorization'];

let root: PinoLogger | undefined;

/** JSON lines on stderr, so that stdout stays for results. Level by VIRTCFT_LOG: trace, debug, info (default), warn, error, silent. */
export function logger(name: string, fields: Record<string, unknown> = {}): Logger {
  root ??= pino({ level: level(), base: null, redact: { paths: secret, censor: '[hidden]' }, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }));
  return root.child({ name, ...fields });
}

function level(): string {
  const wanted = process.env['VIRTCFT_LOG'] ?? 'info';
  if (wanted === 'silent' || Object.hasOwn(pino.levels.values, wanted)) return wanted;
  throw new Error(`VIRTCFT_LOG is "${wanted}"; use trace, debug, info, warn, error or silent`);
}
