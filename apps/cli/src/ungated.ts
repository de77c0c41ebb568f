/**
 * Ways into or out of a guest that are not offered, since nothing could hold what passes there until its commit, or nothing would track what is
 * written there (R9). Whoever asks for one is told why, not only that there is no such key.
 */
const reasons: Readonly<Record<string, string>> = {
  console: 'a console shown to others is output that no commit holds back; each host keeps one in its run folder, marked uncommitted',
  serial: 'a serial line is output that no commit holds back; each host keeps the console in its run folder, marked uncommitted',
  vnc: 'a screen is output that no commit holds back',
  spice: 'a screen is output that no commit holds back',
  graphics: 'a screen is output that no commit holds back',
  vsock: 'vsock passes the host\'s kernel, past the gate; use the network',
  guest_agent: 'a guest agent\'s stream passes the gate; use the network',
  channels: 'such a stream passes the gate; use the network',
  bridge: 'a kernel bridge forwards past the gate, also when the agent is dead; the fabric is the VM\'s network',
  tap: 'a kernel interface forwards past the gate; the fabric is the VM\'s network',
  nat: 'address translation keeps state at the edge that no cut holds; give the guest an address of the outside segment',
  port_forward: 'forwarding keeps state at the edge that no cut holds; give the guest an address of the outside segment',
  vhost_user: 'what a vhost-user process writes to the guest\'s memory is not tracked',
  vfio: 'what a passed-through device writes to the guest\'s memory is not tracked, and its state cannot be captured',
  pci: 'what a passed-through device writes to the guest\'s memory is not tracked, and its state cannot be captured',
  usb: 'the state of a passed-through device cannot be captured',
  filesystems: 'a shared folder is state outside the cut; put the files on a disk',
  shared: 'a disk that others write too is state outside the cut; every disk is one VM\'s own',
};

/** Why a VM or disk cannot have this, or null when it is simply unknown. */
export const whyUngated = (key: string): string | null => {
  const name = key.toLowerCase().replaceAll('-', '_');
  return Object.hasOwn(reasons, name) ? reasons[name] ?? null : null;
};
