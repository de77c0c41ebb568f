import fc from 'fast-check';
import { CliError, exit, parseClusterFile } from '../src/index.js';

const good = `apiVersion: virtcft/v1
name: shop
hosts: [a, b, c]
vms:
  - name: db
    kernel: /srv/vmlinuz
    mac: 52:54:00:00:00:01
  - name: web
    kernel: /srv/vmlinuz
    mac: 52:54:00:00:00:02
    host: b
`;

function refusal(text: string): string {
  try {
    parseClusterFile(text, 'cluster.yaml');
  } catch (error) {
    expect(error).toBeInstanceOf(CliError);
    expect((error as CliError).exitCode).toBe(exit.usage);
    return (error as CliError).message;
  }
  throw new Error('it was taken');
}

it('a file in YAML or JSON gives its cluster, with defaults', () => {
  const spec = parseClusterFile(good, 'cluster.yaml');
  expect(spec).toMatchObject({ name: 'shop', interval_ms: 100, protect: true, vms: [{ name: 'db', memory_mib: 128 }, { name: 'web', host: 'b' }] });
  expect(parseClusterFile(JSON.stringify(spec), 'cluster.json')).toEqual(spec);
});

it.each<[string, string, string, RegExp]>([
  ['a wrong value', 'mac: 52:54:00:00:00:01', 'mac: 52-54', /^cluster\.yaml:7:5: vms\[0\]\.mac: write a MAC as six/],
  ['a key nearly right', 'name: shop', 'name: shop\ninterval_msec: 5', /^cluster\.yaml:3:1: interval_msec: there is no such key; did you mean interval_ms\?/],
  ['a key that does not exist', '    host: b', '    gpu: /x', /^cluster\.yaml:11:5: vms\[1\]\.gpu: there is no such key; use name, memory_mib/],
  ['a way out past the gate', '    host: b', '    vsock: 3', /^cluster\.yaml:11:5: vms\[1\]\.vsock: cannot be protected: vsock passes the host's kernel/],
  ['a device that writes untracked', '    host: b', '    vhost-user: /x', /vms\[1\]\.vhost-user: cannot be protected: .* is not tracked/],
  ['a missing key', 'name: shop\n', '', /^cluster\.yaml:1:1: name: is missing; write a string/],
  ['another version', 'virtcft/v1', 'virtcft/v2', /^cluster\.yaml:1:1: apiVersion: write virtcft\/v1/],
  ['a bound', 'name: shop', 'name: shop\nwindow: 99', /^cluster\.yaml:3:1: window: .*<=16/],
  ['a policy', 'name: shop', 'name: shop\npolicies: { data_loss: shrug }', /^cluster\.yaml:3:13: policies\.data_loss: write halt or rollback/],
  ['a VM twice', 'name: web', 'name: db', /VM "db" is given twice/],
  ['a host that is not listed', 'host: b', 'host: z', /"web" is placed on "z", which is not among the hosts/],
  ['a key twice', 'name: shop', 'name: shop\nname: shop', /^cluster\.yaml:3:1: Map keys must be unique/],
  ['broken YAML', 'hosts: [a, b, c]', 'hosts: [a, b', /^cluster\.yaml:\d+:\d+: /],
])('%s: names the line and says what to write', (_, from, to, message) => {
  expect(refusal(good.replace(from, to))).toMatch(message);
});

it('several mistakes are told at once', () => {
  expect(refusal(good.replace('shop', 'Shop').replace('52:54:00:00:00:01', 'x')).split('\n')).toHaveLength(2);
});

it('no cluster at all, an empty file, an alias bomb and a huge file are refused', () => {
  expect(refusal('')).toMatch(/cluster\.yaml/);
  expect(refusal('just text')).toMatch(/cluster\.yaml:1:1/);
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]', ...'bcdefgh'.split('').map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[i]}`).join(',')}]`)].join('\n');
  expect(refusal(bomb)).toMatch(/alias/);
  expect(refusal('#'.repeat(2_000_000))).toMatch(/at most/);
});

it('any text either gives a cluster or is refused with a reason', () => {
  const lines = good.split('\n');
  const mutated = fc.tuple(fc.nat(lines.length - 1), fc.oneof(fc.string(), fc.constantFrom('- ', '  x: 1', 'vms: 5', '&a *a', '? [1]', '!!set {a}', '  - null', '__proto__: 1'))).map(([at, text]) => lines.toSpliced(at, 1, text).join('\n'));
  fc.assert(fc.property(fc.oneof(mutated, fc.string()), (text) => {
    try {
      expect(parseClusterFile(text, 'f').apiVersion).toBe('virtcft/v1');
    } catch (error) {
      expect(error).toBeInstanceOf(CliError);
      expect((error as CliError).message).not.toBe('');
    }
  }), { numRuns: 500 });
});
