import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { distribution, ratio } from '../../src/report/distribution.js';
import { publishedSchemas, type ReportOf } from '../../src/report/schemas.js';
import { writeReport } from '../../src/report/write.js';

const published = fileURLToPath(new URL('../../../../docs/reports', import.meta.url));
if (process.env['VIRTCFT_PUBLISH'] === '1') {
  mkdirSync(published, { recursive: true });
  for (const { file, content } of publishedSchemas()) writeFileSync(join(published, file), content);
}

it('a distribution says only what was measured', () => {
  expect(distribution([])).toEqual({ n: 0, p50: null, p99: null, max: null });
  expect(distribution([3, 1, 2])).toEqual({ n: 3, p50: 2, p99: 3, max: 3 });
  expect(ratio(null, 2)).toBeNull();
  expect(ratio(1, 4)).toBe(0.25);
});

it.each(publishedSchemas().map(({ file, content }) => [file, content]))('docs/reports/%s is what reports are checked by', (file, content) => {
  expect(readFileSync(join(published, file), 'utf8')).toBe(content);
});

it('no other schema is published', () => {
  expect(readdirSync(published).filter((name) => name.endsWith('.schema.json')).toSorted()).toEqual(publishedSchemas().map(({ file }) => file).toSorted());
});

describe('writing a report', () => {
  let root = '';
  beforeEach(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-report-')); });
  afterEach(async () => { await rm(root, { recursive: true, force: true }); });

  const idle = (over: object = {}): ReportOf<'bench/idle'> => ({
    schema: 'virtcft/report/idle/1', commit: 'unknown', ok: true, params: { minutes: 1 }, minutes: 1, false_alarms: 0, epochs_committed: 600, busy_processes: 2,
    machine: { cores: 2, kernel: '6', accel: 'tcg', tracker: 'compare', qemu: '7', idle_cpu: 0.9 },
    load: { name: 'light', description: 'd', guest: { moves: 1, messages: 1, pages: 1, writes: 1, verify: 1, entropy: 1, seed: 1, spin: 0, probe: 0, fsync: 0 }, client: { clients: 1, keys: 1, value_bytes: 32, entropy: 1, requests_per_s: 1, seed: 1, appends_per_s: 1 } },
    ...over,
  });

  it('leaves the whole report and nothing else', async () => {
    const path = await writeReport(root, 'bench/idle', idle());
    expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ false_alarms: 0 });
    expect(await readdir(join(root, '.artifacts', 'bench'))).toEqual(['idle.json']);
  });

  it('refuses one that lacks what its schema promises', async () => {
    await expect(writeReport(root, 'bench/idle', idle({ false_alarms: undefined }))).rejects.toThrow(/false_alarms/);
    expect(await readdir(root)).toEqual([]);
  });
});
