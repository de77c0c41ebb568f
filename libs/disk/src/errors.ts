/**
 * What the caller should do:
 * - `source-unfit`: the image cannot be taken as a disk (missing, unreadable, not of its format, too large): correct the cluster file;
 * - `host-unfit`: this host lacks what disks need: install it, or place the VM elsewhere;
 * - `no-room`: the host's folder for disks is full: make room, or place the VM elsewhere;
 * - `busy`: a request was under way while the VM should have been stopped: the epoch covers nothing here, try the next.
 */
export type DiskErrorCode = 'source-unfit' | 'host-unfit' | 'no-room' | 'busy';

export class DiskError extends Error {
  override readonly name = 'DiskError';
  constructor(readonly code: DiskErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}
