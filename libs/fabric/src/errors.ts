/**
 * What the caller should do is in the code:
 * - `EINVAL`, `ENAMETOOLONG`, `EMSGSIZE`: the argument is wrong, the message says how;
 * - `EADDRINUSE`, `EADDRNOTAVAIL`, `ENODEV`, `EPERM` and other names of the kernel: the host is not set up for it;
 * - `EEXIST`, `ENOENT`: there is such a port already, or no such port or open cut;
 * - `ESTALE`: the generation changed meanwhile, the answer is of no use any more;
 * - `ETIMEDOUT`: this host has not flipped the epoch yet;
 * - `ECLOSED`: the fabric was closed.
 */
export class FabricError extends Error {
  override readonly name = 'FabricError';
  constructor(readonly code: string, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** A native error with its code, as ours; anything else is a defect and stays what it is. */
export function asFabricError(error: unknown): unknown {
  if (error instanceof FabricError || !isCoded(error)) return error;
  return new FabricError(error.code, error.message, { cause: error });
}

// Not `instanceof Error`: the addon's errors may be of another realm.
function isCoded(error: unknown): error is { code: string; message: string } {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' && 'message' in error && typeof error.message === 'string';
}
