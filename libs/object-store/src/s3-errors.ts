import { ObjectCorrupt, ObjectMissing, StoreError, StoreRefused, StoreUnavailable } from './errors.js';

const missing = new Set(['NoSuchKey', 'NotFound']);
const full = new Set(['XMinioStorageFull', 'InsufficientStorage', 'QuotaExceeded', 'XMinioAdminBucketQuotaExceeded', 'InsufficientCapacity', 'NoSpaceLeft']);
const transient = new Set([
  'SlowDown', 'SlowDownRead', 'SlowDownWrite', 'ServiceUnavailable', 'InternalError', 'RequestTimeout', 'Busy', 'OperationAborted', 'ConditionalRequestConflict',
  'XMinioServerNotInitialized', 'XMinioReadQuorum', 'XMinioWriteQuorum', 'XMinioBackendDown', 'IncompleteBody',
]);

/** What an operator does about answers and failures that trying again does not help. */
const advice: Readonly<Record<string, string>> = {
  RequestTimeTooSkewed: 'the clocks of this machine and of the store differ by too much: set both by NTP',
  AccessDenied: 'the user of this service may not do that: give it the rights of docker/minio/<service>.json, and removal.json where a cluster has a retention',
  InvalidAccessKeyId: 'the store does not know this access key: give the credentials of a user that it has',
  SignatureDoesNotMatch: 'the secret key is not that of this access key: give the right credentials',
  ExpiredToken: 'the credentials have expired: give new ones',
};
/** Of the peer's certificate, by Node and OpenSSL. */
const untrusted = /^(CERT_|UNABLE_TO_|SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED|ERR_TLS_CERT|HOSTNAME_MISMATCH|ERR_SSL_)/;

/** What the minio client throws, as what the caller should do. */
export function translate(error: unknown, key: string): StoreError {
  if (error instanceof StoreError) return error;
  const { code, message } = error as { code?: unknown; message?: string };
  const name = (error as Error).constructor.name;
  const detail = `${key}: ${typeof code === 'string' && code !== '' ? `${code}: ` : ''}${message ?? String(error)}`;
  if (name === 'S3Error') {
    const answer = typeof code === 'string' ? code : '';
    if (missing.has(answer)) return new ObjectMissing(key);
    if (answer === 'InvalidRange') return new ObjectCorrupt(key, 'it is shorter than what was asked for');
    if (full.has(answer)) return new StoreUnavailable('full', detail, error);
    if (transient.has(answer)) return new StoreUnavailable('overloaded', detail, error);
    // No code: not an answer of an S3 server but of something before it.
    if (answer === '') return new StoreUnavailable('unreachable', detail, error);
    const said = advice[answer];
    return new StoreRefused(said === undefined ? detail : `${detail}; ${said}`, error);
  }
  if (typeof code === 'string' && untrusted.test(code)) return new StoreRefused(`${detail}; the certificate of the store is not one that this service trusts: give its authority in NODE_EXTRA_CA_CERTS, and the host by a name that the certificate has`, error);
  if (/Retryable HTTP status/.test(message ?? '')) return new StoreUnavailable('overloaded', detail, error);
  if (name.startsWith('Invalid')) return new StoreRefused(detail, error);
  // What is left is the connection: refused, reset, timed out, cut in the middle of a body, unresolvable name.
  return new StoreUnavailable('unreachable', detail, error);
}

/** The connection ended; with a kept-alive connection that may be nothing but the server's idle time-out. */
export function isCut(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === 'ECONNRESET' || code === 'EPIPE';
}
