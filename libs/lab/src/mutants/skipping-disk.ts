import type { GuestDisk } from '@virtcft/native';

const EVERY = 10;

/** Lab only: a disk that breaks I5. In every tenth epoch the blocks that were written are in no segment: what is encoded is what was written since the epoch itself. */
export function skipping(disk: GuestDisk): GuestDisk {
  return new Proxy(disk, {
    get(target, name) {
      if (name === 'encode') return ({ parent, epoch }: { parent: number | null; epoch: number }) => target.encode({ parent: parent !== null && epoch % EVERY === 0 ? epoch : parent, epoch });
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}
