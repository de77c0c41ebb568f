import { ClusterSpec } from '@virtcft/events';
import { parse } from 'yaml';
import { clusterFile, demoVms, FILESYSTEM_DISK } from '../../src/demo/cluster-file.js';
import { guestImages, readLoad } from '../../src/guests.js';

const spec = (name: string): ClusterSpec => {
  const load = readLoad(name);
  return ClusterSpec.parse(parse(clusterFile({ name: 'demo', vms: demoVms(128, load.disks !== undefined), load, interval_ms: 100, verify_every: 20 })));
};

it('a load without disks has three VMs without any, and one of them probes for gaps', () => {
  const { vms } = spec('light');
  expect(vms.map(({ name, disks }) => [name, disks.length])).toEqual([['redis', 0], ['bank-1', 0], ['bank-2', 0]]);
  expect(vms.filter(({ append }) => append.includes('probe:1000')).map(({ name }) => name)).toEqual(['bank-2']);
});

it('a load with disks adds a VM with a file system and a raw disk, in the order in which the guest looks for them', () => {
  const { disks } = guestImages();
  const database = spec('database').vms.at(-1);
  expect(database).toMatchObject({ name: 'database', disks: [{ name: FILESYSTEM_DISK, source: disks.data, format: 'raw' }, { name: 'blocks', source: disks.blocks, format: 'raw' }] });
  expect(database?.append).toMatch(/virtcft\.role=database .*blocks:1024,block_writes:50,block_verify:200/);
  expect(spec('database').vms.filter(({ disks: held }) => held.length > 0)).toHaveLength(1);
});
