import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabMinio } from '@virtcft/lab';
import { PATIENCE_MS, ProtectedCluster, until } from './protected-cluster.js';

/** MinIO takes no drive below 900 MiB. */
const DRIVE_MIB = 1_200;
const WINDOW = 2;

describe('a store on MinIO that is slow, full or away (R24)', () => {
  let cluster: ProtectedCluster;
  let minio: LabMinio;
  const state = () => cluster.watch.state;
  const guests = [{ name: 'one', role: 'bank', host: 'alpha', memory_mib: 80, peers: ['one', 'two'] }, { name: 'two', role: 'bank', host: 'beta', memory_mib: 80, peers: ['one', 'two'] }] as const;
  /** An alarm is raised again when what it says changes, and cleared once. */
  const alarmed = () => cluster.watch.facts.findLast(({ fact }) => (fact.type === 'alarm.raised' || fact.type === 'alarm.cleared') && fact.data.alarm === 'store-unavailable')?.fact.type === 'alarm.raised';

  beforeAll(async () => {
    cluster = await ProtectedCluster.open({ hosts: ['alpha', 'beta'], memory_mib: 1024 }, async (lab) => {
      const data = join(lab.dir, 'drive');
      mkdirSync(data);
      await lab.exec(null, ['mount', '-t', 'tmpfs', '-o', `size=${DRIVE_MIB}m`, 'drive', data]);
      minio = await LabMinio.start(lab, { data });
      return { store: minio.url, storeUser: (service) => minio.environment(service) };
    });
    const file = cluster.file('backed', guests, { epoch_deadline_ms: 2_000, window: WINDOW });
    expect((await cluster.virtcft('apply', '-f', file, '--wait')).code).toBe(0);
    await cluster.commits(5);
  }, 4 * PATIENCE_MS);
  afterAll(async () => {
    await cluster.close();
  }, PATIENCE_MS);
  afterEach(() => {
    expect(cluster.installation.fallen()).toEqual([]);
    expect(cluster.facts('generation.raising')).toEqual([]);
  });

  /** While the store does not take anything: an alarm that says why, seen by an operator, no epoch beyond the window; afterwards it is over by itself and nothing was lost. */
  async function outage(why: RegExp, begin: () => Promise<void> | void, end: () => Promise<void> | void): Promise<void> {
    const before = state().tip;
    expect(alarmed()).toBe(false);
    await begin();
    try {
      await cluster.watch.until('the alarm', PATIENCE_MS, alarmed);
      expect((await cluster.virtcft('status')).out).toContain('store-unavailable');
      await until('an operator is told why', async () => why.test((await cluster.virtcft('describe', 'cluster', 'backed')).out));
      await sleep(3_000);
      const { opened, committed, aborted } = counts();
      expect(opened - committed - aborted).toBeLessThanOrEqual(WINDOW);
    } finally {
      await end();
    }
    await cluster.commits(3);
    await cluster.watch.until('the end of the alarm', PATIENCE_MS, () => !alarmed());
    await until('the status says that it is over', async () => !(await cluster.virtcft('status')).out.includes('store-unavailable'));
    const cuts = cluster.facts('epoch.committed');
    expect(cuts.map(({ cut }) => cut.hash)).toContain(before?.hash);
    expect(cuts.slice(1).map(({ previous }) => previous)).toEqual(cuts.slice(0, -1).map(({ cut }) => cut.hash));
    expect(await cluster.audit('one', 'two')).toMatchObject({ settled: true, errors: 0, reconnects: 0, complaints: [] });
    for (const { name } of guests) expect(await cluster.pattern(name)).toMatchObject({ errors: 0 });
  }

  const counts = () => ({ opened: cluster.facts('epoch.opened').length, committed: cluster.facts('epoch.committed').length, aborted: cluster.facts('epoch.aborted').length });

  it('away: it was killed and comes back', async () => {
    await outage(/store-unavailable: no host could store epoch .*unreachable/, () => minio.kill(), () => minio.startAgain());
  }, 4 * PATIENCE_MS);

  it('silent: connections stay and nothing answers', async () => {
    await outage(/store-unavailable: no host could store epoch/, () => { minio.freeze(); }, () => { minio.thaw(); });
  }, 4 * PATIENCE_MS);

  it('full: until there is room again', async () => {
    const ballast = join(cluster.lab.dir, 'drive', 'ballast');
    await outage(
      /store-unavailable: no host could store epoch .*full/,
      async () => { await cluster.lab.exec(null, ['sh', '-c', `dd if=/dev/zero of=${ballast} bs=1M 2>/dev/null || true`]); },
      async () => { await cluster.lab.exec(null, ['rm', ballast]); },
    );
  }, 4 * PATIENCE_MS);

  it('slow: epochs take longer, within the window, and go on', async () => {
    const stop = new AbortController();
    const slow = (async () => {
      while (!stop.signal.aborted) {
        minio.freeze();
        await sleep(400);
        minio.thaw();
        await sleep(50);
      }
    })();
    try {
      await cluster.commits(5);
      const { opened, committed, aborted } = counts();
      expect(opened - committed - aborted).toBeLessThanOrEqual(WINDOW);
    } finally {
      stop.abort();
      await slow;
    }
    await cluster.commits(5);
  }, 4 * PATIENCE_MS);

  it('every cut that was committed can be read with all that it rests on', async () => {
    const verified = await cluster.virtcft('verify', '--all');
    expect(verified.out + verified.err).not.toMatch(/damaged|missing/);
    expect(verified.code).toBe(0);
  }, 4 * PATIENCE_MS);
});
