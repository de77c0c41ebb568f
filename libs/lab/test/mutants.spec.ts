import type { GuestDisk } from '@virtcft/native';
import { skipping } from '../src/mutants/skipping-disk.js';

it('the disk that skips written blocks does so in every tenth epoch, and never in a full segment', async () => {
  const asked: { parent: number | null; epoch: number }[] = [];
  const disk = skipping({ encode: (range: { parent: number | null; epoch: number }) => { asked.push(range); return Promise.resolve({}); } } as unknown as GuestDisk);
  await disk.encode({ parent: 8, epoch: 9 });
  await disk.encode({ parent: 9, epoch: 10 });
  await disk.encode({ parent: null, epoch: 20 });
  expect(asked).toEqual([{ parent: 8, epoch: 9 }, { parent: 10, epoch: 10 }, { parent: null, epoch: 20 }]);
});
