import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makePrivate, swapDanger, swapDangerHere } from '../src/private-memory.js';

const area = { path: '/dev/sda2', encrypted: false, volatile: false };

describe('guests\' memory on a host', () => {
  it('is in a folder that nobody else may enter, also when it was there before, and so is what is made in it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'virtcft-private-'));
    const before = process.umask();
    try {
      mkdirSync(join(folder, 'vms'), { mode: 0o755 });
      await makePrivate(join(folder, 'vms'));
      expect(statSync(join(folder, 'vms')).mode & 0o777).toBe(0o700);
      mkdirSync(join(folder, 'vms', 'bank'));
      writeFileSync(join(folder, 'vms', 'bank', 'ram'), '');
      execFileSync('touch', [join(folder, 'vms', 'bank', 'by-a-child')]);
      expect(['bank', 'bank/ram', 'bank/by-a-child'].map((path) => statSync(join(folder, 'vms', path)).mode & 0o077)).toEqual([0, 0, 0]);
    } finally {
      process.umask(before);
      rmSync(folder, { recursive: true });
    }
  });

  it('is not run where it could be swapped to a disk in the clear, and what to do is said', () => {
    expect(swapDanger([], [])).toBeNull();
    expect(swapDanger([{ ...area, encrypted: true }, { ...area, path: '/dev/zram0', volatile: true }], ['max\n'])).toBeNull();
    expect(swapDanger([area], ['max\n', ''])).toMatch(/\/dev\/sda2, in the clear.*MemorySwapMax=0.*VIRTCFT_SWAP=allow/);
    expect(swapDanger([area, { ...area, path: '/swapfile' }], [])).toContain('/dev/sda2, /swapfile');
    expect(swapDanger([area], ['max\n', '0\n'])).toBeNull();
  });

  it('is looked at as this machine is', async () => {
    const swaps = execFileSync('cat', ['/proc/swaps'], { encoding: 'utf8' }).trim().split('\n');
    const danger = await swapDangerHere();
    if (swaps.length === 1) expect(danger).toBeNull();
    else expect(danger === null || danger.includes((swaps[1] ?? '').split(/\s/)[0] ?? '')).toBe(true);
  });
});
