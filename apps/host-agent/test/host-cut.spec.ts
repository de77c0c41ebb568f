import type { Fabric } from '@virtcft/fabric';
import type { Vm } from '@virtcft/hypervisor';
import { CutFailed, cutHost } from '../src/cut/host-cut.js';

const BUDGET_MS = 60_000;

/** Notes the order of what is done to the fabric and to two VMs. */
function scene(failing?: 'stop' | 'stop in time' | 'capture' | 'everything', taken: readonly number[] = [0]): { fabric: Fabric; vms: Vm[]; done: string[] } {
  const done: string[] = [];
  const note = (what: string) => async (): Promise<void> => { done.push(what); };
  let drains = 0;
  const fabric = { hold: note('hold'), drain: async () => { done.push('drain'); drains += 1; }, stats: () => ({ ports: [{ nic: 'n', rxFrames: taken[drains] ?? taken.at(-1) ?? 0 }] }), flip: note('flip'), release: note('release') } as unknown as Fabric;
  const vms = ['one', 'two'].map((name) => ({
    spec: { name },
    stop: async () => { done.push(`stop ${name}`); if (name !== 'two') return; if (failing === 'stop') throw new Error('two hangs'); if (failing === 'stop in time') await new Promise(() => undefined); },
    settle: note(`settle ${name}`),
    capture: async (epoch: number) => { done.push(`capture ${name}`); if (failing !== undefined && failing !== 'stop' && name === 'two') throw new Error('two died'); return { vm: name, epoch, dirtyPages: 1 }; },
    verify: async () => { done.push(`verify ${name}`); if (failing === 'everything' && name === 'two') throw new Error('two died'); return name === 'one' ? 0 : 2; },
    resume: async () => { done.push(`resume ${name}`); if (failing === 'everything' && name === 'two') throw new Error('two died'); return { pause_ms: 3, parts: { stop_ms: 1, scan_ms: 0.1, copy_ms: 0.2, state_ms: 1.5, resume_ms: 0.2 } }; },
  })) as unknown as Vm[];
  return { fabric, vms, done };
}

describe('the cut on one host', () => {
  it('holds, stops all, flips, captures all, continues all, releases (R4)', async () => {
    const { fabric, vms, done } = scene();
    const cut = await cutHost(fabric, vms, 7, false, BUDGET_MS);
    expect(done).toEqual(['hold', 'stop one', 'stop two', 'drain', 'flip', 'capture one', 'capture two', 'resume one', 'resume two', 'release']);
    expect(cut.pauses[0]).toMatchObject({ vm: 'one', pause_ms: 3, parts_ms: { scan: 0.1, state: 1.5 } });
    expect(cut.verified).toEqual({ checks: 0, differing: 0 });
  });

  it('captures only once nothing more comes from the stopped guests: a frame that waited for room is sent after the stop, and noted in memory', async () => {
    const { fabric, vms, done } = scene(undefined, [10, 20, 30, 33]);
    await cutHost(fabric, vms, 7, false, BUDGET_MS);
    expect(done.filter((what) => what === 'settle one')).toHaveLength(2);
    expect(done.lastIndexOf('settle two')).toBeLessThan(done.indexOf('capture one'));
  });

  it('gives the cut up when a stopped guest does not cease to send', async () => {
    const { fabric, vms, done } = scene(undefined, Array.from({ length: 100 }, (_, i) => i * 10));
    await expect(cutHost(fabric, vms, 7, false, BUDGET_MS)).rejects.toThrow(CutFailed);
    expect(done.slice(-4)).toEqual(['resume one', 'resume two', 'flip', 'release']);
  });

  it('compares in full while all stand still, and tells no pause of such a cut (I5)', async () => {
    const { fabric, vms, done } = scene();
    const cut = await cutHost(fabric, vms, 7, true, BUDGET_MS);
    expect(done.indexOf('verify one')).toBeGreaterThan(done.indexOf('capture two'));
    expect(done.indexOf('verify one')).toBeLessThan(done.indexOf('resume one'));
    expect(cut).toMatchObject({ pauses: [], verified: { checks: 2, differing: 2 } });
  });

  it('a VM that does not stop: all continue, the colour flips, the cut failed (R4)', async () => {
    const { fabric, vms, done } = scene('stop');
    await expect(cutHost(fabric, vms, 7, false, BUDGET_MS)).rejects.toThrow(CutFailed);
    expect(done.slice(3)).toEqual(['resume one', 'resume two', 'flip', 'release']);
  });

  it('a VM that takes longer to stop than its hypervisor may: all continue, the colour flips, the cut failed (R4)', async () => {
    const { fabric, vms, done } = scene('stop in time');
    await expect(cutHost(fabric, vms, 7, false, 20)).rejects.toThrow('did not stop within 20 ms');
    expect(done.slice(3)).toEqual(['resume one', 'resume two', 'flip', 'release']);
  });

  it('a VM that cannot be captured: the others run on, the cut failed', async () => {
    const { fabric, vms, done } = scene('capture');
    await expect(cutHost(fabric, vms, 7, false, BUDGET_MS)).rejects.toThrow(/two died/);
    expect(done.slice(-3)).toEqual(['resume one', 'resume two', 'release']);
  });

  it('a VM whose process dies within the cut takes only the epoch with it (R7)', async () => {
    const { fabric, vms, done } = scene('everything');
    await expect(cutHost(fabric, vms, 7, true, BUDGET_MS)).rejects.toThrow(CutFailed);
    expect(done.slice(-3)).toEqual(['resume one', 'resume two', 'release']);
  });
});
