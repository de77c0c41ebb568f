import type { NicAttachment } from '../../port.js';

/** What carries a guest's frames between its vif in dom0 and the switch's port. */
export interface XenCabling {
  /** Absolute path in dom0 of the hotplug script that ties a vif to it, found by the guest's address. */
  readonly script: string;
  /** Before the vif is there. */
  plug(nic: NicAttachment): Promise<void>;
  /** After it has gone. Nothing where none is plugged. */
  unplug(mac: string): Promise<void>;
}
