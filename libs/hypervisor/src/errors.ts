/**
 * What the caller should do:
 * - `host-unfit`: this host cannot run VMs as it is (no QEMU, no tmpfs, an interface missing): repair the host, place elsewhere;
 * - `spec-invalid`: the VM's description cannot run anywhere as it is: correct it;
 * - `no-room`: not enough memory here: place elsewhere;
 * - `vm-exists`: a VM of this name is here already, or its leftovers are: `destroy` it, or `sweep` the host;
 * - `wrong-state`: the calls came in a wrong order: a fault of the caller, nothing was changed;
 * - `state-refused`: the device state or the pages of an image cannot be loaded here (damaged, or of another identity);
 * - `vm-gone`: the hypervisor's process has ended: recover the VM;
 * - `vm-stuck`: the hypervisor does not answer in time: destroy and recover the VM;
 * - `refused`: the hypervisor refused a command for a reason of its own, in the message.
 */
export type HypervisorErrorCode =
  | 'host-unfit' | 'spec-invalid' | 'no-room' | 'vm-exists' | 'wrong-state' | 'state-refused' | 'vm-gone' | 'vm-stuck' | 'refused';

export class HypervisorError extends Error {
  override readonly name = 'HypervisorError';
  constructor(readonly code: HypervisorErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

/** Text of anything thrown, for a message. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of anything thrown (system errors, native errors, ours), or null. */
export function codeOf(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}
