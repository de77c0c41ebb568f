// Runs inside a machine of the lab: two guests, cut again and again, and between our cuts QEMU's own stop and full migration of the same guest.
// Prints one JSON object.
import { mkdir } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { createQemuDriver, migrateStopped, type CaptureParts, type QemuDriver, type QemuVm } from '@virtcft/hypervisor';
import { guestAppend, guestImages, type Load } from '../guests.js';
import { measurePair, type PairSamples, type PairSettings } from './pause-pair.js';

export interface PauseSettings { readonly cuts: number; readonly interval_ms: number; readonly guest: Load['guest']; readonly pair: PairSettings }
export interface PauseSamples {
  readonly small: CutSamples;
  readonly large: CutSamples;
  readonly migrate_ms: number[];
  readonly pair: PairSamples;
  readonly accel: string; readonly tracker: string; readonly version: string;
}
export interface CutSamples { readonly pause_ms: number[]; readonly dirty_pages: number[]; readonly parts: CaptureParts[] }

const RUN_DIR = '/run/virtcft';
const BOOT_MS = 8_000;
const WARM_UP = 10; // first cuts take what the boot left
const MIGRATE_EVERY = 10;

class Cuts {
  readonly samples: CutSamples = { pause_ms: [], dirty_pages: [], parts: [] };
  #epoch = 0;
  constructor(private readonly vm: QemuVm) {}

  /** One cut as an agent makes it; encoding and folding come after the pause. */
  async cut(counts: boolean): Promise<void> {
    const epoch = this.#epoch += 1;
    await this.vm.stop();
    const capture = await this.vm.capture(epoch);
    const { pause_ms, parts } = await this.vm.resume();
    await capture.deviceState();
    await this.vm.encode(epoch === 1 ? null : epoch - 1, epoch);
    await this.vm.commit(epoch);
    if (!counts) return;
    this.samples.pause_ms.push(pause_ms);
    this.samples.dirty_pages.push(capture.dirtyPages);
    this.samples.parts.push(parts);
  }
}

async function boot(driver: QemuDriver, name: string, memory_mib: number, guest: Load['guest']): Promise<QemuVm> {
  const images = guestImages();
  const number = memory_mib === 128 ? 1 : 2;
  const mac = `52:54:00:88:01:0${number}`;
  const address = `10.88.0.${number}`;
  return driver.start({
    name, memory_mib, vcpus: 1, kernel: images.kernel, initrd: images.initrd.bank, nics: [{ mac }], append: guestAppend({ address, peers: [address], role: 'bank', load: guest }), clock: 'stop',
  }, [{ mac, guest: `${RUN_DIR}/${name}.guest`, fabric: `${RUN_DIR}/${name}.fabric` }]);
}

async function measure({ cuts, interval_ms, guest, pair }: PauseSettings): Promise<PauseSamples> {
  await mkdir(`${RUN_DIR}/vms`, { recursive: true });
  const driver = await createQemuDriver({ runDir: `${RUN_DIR}/vms`, log: (message, fields) => { console.error(message, fields); } });
  try {
    const [small, large] = [await boot(driver, 'small', 128, guest), await boot(driver, 'large', 512, guest)];
    await wait(BOOT_MS);
    const [ofSmall, ofLarge] = [new Cuts(small), new Cuts(large)];
    const migrate_ms: number[] = [];
    for (let i = 0; i < cuts + WARM_UP; i += 1) {
      await wait(interval_ms);
      const migrated = i % MIGRATE_EVERY === MIGRATE_EVERY - 1;
      await ofSmall.cut(i >= WARM_UP);
      await ofLarge.cut(i >= WARM_UP);
      if (!migrated) continue;
      migrate_ms.push((await migrateStopped(small)).pause_ms);
      // What was dirtied meanwhile belongs to no epoch of the usual length.
      await ofSmall.cut(false);
      await ofLarge.cut(false);
    }
    await Promise.all([small.destroy(), large.destroy()]);
    const { accel, version } = driver.identity;
    return { pair: await measurePair(driver, pair), small: ofSmall.samples, large: ofLarge.samples, migrate_ms, accel, tracker: driver.tracker, version };
  } finally {
    await driver.sweep();
    await driver.close();
  }
}

process.stdout.write(`${JSON.stringify(await measure(JSON.parse(process.argv[2] ?? 'null') as PauseSettings))}\n`);
