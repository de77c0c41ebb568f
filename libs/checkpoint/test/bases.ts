import { join } from 'node:path';
import { ContentUses, foldCut, writeBase } from '../src/index.js';
import type { BaseOptions, ObjectSource, ObjectTarget, WrittenBase } from '../src/index.js';
import type { CommittedCut } from './history.js';

let folders = 0;

/** Writes bases of VMs (all, where none is given) at this cut, as a replica store does: from a fold of its own. */
export async function writeBases(store: ObjectSource & ObjectTarget, cut: CommittedCut, root: string, options: Partial<BaseOptions> & { readonly vms?: readonly string[] } = {}): Promise<WrittenBase[]> {
  const fold = await foldCut(store, cut.ref, join(root, `for-bases-${folders++}`));
  const hold = options.hold ?? new ContentUses(0).hold();
  try {
    const written: WrittenBase[] = [];
    for (const vm of options.vms ?? fold.vms) written.push(await writeBase(store, fold, vm, { ...options, hold }));
    return written;
  } finally {
    await fold.close();
  }
}
