import { readLoad } from '../guests.js';
import { Lab } from '../lab.js';
import type { PauseReport } from '../report/bench-reports.js';
import { distribution, ratio } from '../report/distribution.js';
import { describeMachine, idleCpu, measuredCommit } from '../report/machine.js';
import { root } from '../demo/run.js';
import { script } from '../site.js';
import type { BenchOptions } from './options.js';
import type { CutSamples, PauseSamples, PauseSettings } from './pause-host.js';

/** Page writes a second that leave about 400 dirty pages per 100 ms, the guest kernel's own included. */
const WRITES_PER_S = 3_500;
/** What the pair's disks are used for. */
const DISK_LOAD = 'database';

export async function benchPause(options: BenchOptions, signal: AbortSignal): Promise<PauseReport> {
  const load = readLoad(options.load);
  const guest = { ...load.guest, writes: WRITES_PER_S };
  const [idle_cpu, commit] = [await idleCpu(), await measuredCommit(root)];
  const lab = await Lab.open();
  const close = (): void => { void lab.close(); };
  signal.addEventListener('abort', close, { once: true });
  try {
    const host = await lab.startHost('host-a');
    const { disks } = readLoad(DISK_LOAD);
    if (disks === undefined) throw new RangeError(`the load ${DISK_LOAD} has no disks`);
    const { cuts, interval_ms } = options;
    const settings: PauseSettings = { cuts, interval_ms, guest, pair: { cuts, interval_ms, guest: load.guest, disks } };
    const samples = JSON.parse(await lab.exec(host.name, [process.execPath, script('bench/pause-host'), JSON.stringify(settings)])) as PauseSamples;
    const [small, large] = [distribution(samples.small.pause_ms), distribution(samples.large.pause_ms)];
    const migrate = distribution(samples.migrate_ms);
    return {
      schema: 'virtcft/report/pause/1', commit, load: { ...load, guest }, ok: small.n > 0 && migrate.n > 0, machine: await describeMachine(samples, idle_cpu),
      params: { cuts: options.cuts, interval_ms: options.interval_ms, writes_per_s: WRITES_PER_S },
      pause_ms: small, pause_512_ms: large, migrate_ms: migrate, ratio: ratio(small.p50, migrate.p50), ratio_512_to_128: ratio(large.p50, small.p50),
      host_pause_ms: distribution(samples.pair.pause_ms), host_dirty_pages: distribution(samples.pair.dirty_pages), host_dirty_blocks: distribution(samples.pair.dirty_blocks),
      dirty_pages: distribution(samples.small.dirty_pages), dirty_pages_512: distribution(samples.large.dirty_pages), parts_ms: parts(samples.small), parts_512_ms: parts(samples.large),
    };
  } finally {
    signal.removeEventListener('abort', close);
    await lab.close();
  }
}

function parts({ parts: each }: CutSamples): PauseReport['parts_ms'] {
  return {
    stop: distribution(each.map(({ stop_ms }) => stop_ms)), scan: distribution(each.map(({ scan_ms }) => scan_ms)), copy: distribution(each.map(({ copy_ms }) => copy_ms)),
    state: distribution(each.map(({ state_ms }) => state_ms)), resume: distribution(each.map(({ resume_ms }) => resume_ms)),
  };
}
